"""The wheel as its users have it: installed into an empty environment, it is the whole service in an empty folder."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import requests
from packaging.metadata import Metadata
from packaging.requirements import Requirement

from examples.build import build
from tests.support.service import CHECKOUT, Service, wait_until
from wfmgmt import __version__

NOBODY = 65534
#: Root installs, and somebody else runs it.
UNPRIVILEGED = (
    ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all")
    if os.geteuid() == 0
    else ()
)


@pytest.fixture(name="folder", scope="module")
def _folder() -> Iterator[Path]:
    """Give a folder that others than its owner can use, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.fixture(name="wheel", scope="module")
def _wheel(folder: Path) -> Path:
    """Build the source archive, and the wheel from that."""
    run([sys.executable, "-m", "build", "--outdir", folder / "dist", CHECKOUT])
    (wheel,) = folder.glob("dist/*.whl")
    return wheel


@pytest.fixture(name="environment", scope="module")
def _environment(folder: Path, wheel: Path) -> Path:
    """Install the wheel, and what it asks for, into an environment where there was nothing but pip."""
    run([interpreter(), "-m", "venv", folder / "environment"])
    run([folder / "environment/bin/pip", "install", "--quiet", wheel])
    return folder / "environment/bin"


def interpreter() -> str:
    """Return a Python that this package supports and that the user of the service may run."""
    own = str(Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}"))
    is_new = "import sys; sys.exit(sys.version_info < (3, 11))"
    for found in (own, "/usr/bin/python3"):
        # Another program in between has lost all privileges when it looks for this one.
        if subprocess.run([*UNPRIVILEGED, "env", found, "-c", is_new], check=False).returncode == 0:
            return found
    pytest.fail("there is no Python 3.11 or newer that an unprivileged user may run")


def run(command: Sequence[str | Path], folder: Path = Path("/")) -> str:
    """Run a command in a folder that is not the checkout, and return what it prints; it has to succeed."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("WFMGMT_", "PYTHON"))}
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_metadata_are_valid(wheel: Path) -> None:
    """Name, version, licence, description, requirements and extras, in the form that indexes accept."""
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(f"wfmgmt-{__version__}.dist-info/METADATA")
    metadata = Metadata.from_email(text, validate=True)
    assert (metadata.name, str(metadata.version), metadata.license_expression) == ("wfmgmt", __version__, "Apache-2.0")
    assert (metadata.license_files, metadata.description_content_type) == (["LICENSE"], "text/markdown")
    assert metadata.description == (CHECKOUT / "README.md").read_text(encoding="utf-8")
    required = {str(each) for each in metadata.requires_dist or () if each.marker is None}
    lines = [line.partition("#")[0].strip() for line in (CHECKOUT / "requirements.in").read_text().splitlines()]
    assert required == {str(Requirement(line)) for line in lines if line}
    assert metadata.provides_extra == ["postgresql", "signers", "testing"]


def test_installed_packages_fit_together(environment: Path) -> None:
    """Nothing is missing, and the command says which version it is."""
    assert "No broken requirements" in run([environment / "pip", "check"])
    assert run([environment / "wfmgmt", "--version"]) == f"{__version__}\n"


def test_service_runs_in_an_empty_folder(folder: Path, environment: Path) -> None:
    """Register, predict, look at it, describe, restart, delete and stop, as a user who owns nothing but that folder."""
    place = folder / "empty"
    place.mkdir()
    if UNPRIVILEGED:
        os.chown(place, NOBODY, NOBODY)
    service = Service(place / "instance", prefix=UNPRIVILEGED)
    shutil.rmtree(service.instance)
    service.cwd, service.log = place, folder / "service.log"
    service.command_line = [str(environment / "wfmgmt"), "serve", "--access-logfile", str(place / "access.log")]
    for name in ("WFMGMT_INSTANCE", "PYTHONPATH"):
        service.environment.pop(name, None)
    with service:
        build(service.workflow_store, service.model_store)
        answer = service.register("sequential.war")
        assert answer.status_code == 200, answer.text
        assert predict(service) == {"mood": "good", "score": 1}
        shown = requests.get(f"{service.management}/ui/workflows", headers={"Accept": "text/html"}, timeout=10).text
        assert "sequential" in shown
        for address in re.findall(r'(?:src|href)="(/ui/static/[^"]+)"', shown):
            assert requests.get(service.management + address, timeout=10).status_code == 200
        assert {node["name"]: node["readyWorkers"] for node in service.describe("sequential")["nodes"]} == {
            "pre_processing": 1,
            "sentiment": 1,
            "post_processing": 1,
        }
        assert service.stop() == 0, service.text_of_log()
    with service:
        wait_until(lambda: requests.get(f"{service.inference}/readyz", timeout=5).status_code == 200, what="readiness")
        assert predict(service) == {"mood": "good", "score": 1}
        assert service.unregister("sequential").status_code == 200
        assert service.names() == []
        assert service.stop() == 0, service.text_of_log()
    assert run([*UNPRIVILEGED, environment / "wfmgmt", "audit", "verify"], place).startswith(
        "2 rows fit; hash of the last one: "
    )
    assert "POST /workflows HTTP/1.1" in (place / "access.log").read_text(encoding="utf-8")
    assert sorted(path.name for path in place.iterdir()) == ["access.log", "instance"]


def predict(service: Service) -> object:
    """Ask the example what the README asks it."""
    answer = requests.post(f"{service.inference}/wfpredict/sequential", data=b"What a great day\n", timeout=10)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_suites_for_model_servers_come_with_an_extra(environment: Path, wheel: Path) -> None:
    """`wfmgmt[testing]` has what `wfmgmt.testing` imports."""
    run([environment / "pip", "install", "--quiet", f"{wheel}[testing]"])
    run([environment / "python", "-c", "import wfmgmt.testing"])
