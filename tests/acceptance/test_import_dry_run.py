"""A dry run of `wfmgmt import-torchserve` says what the real one does."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.deployments import deployed
from tests.support.factories import SEQUENTIAL_SPEC, make_mar, make_war
from tests.support.listed_workflows import listing
from tests.support.scripted_server import ScriptedServer
from tests.support.service import Service, stored_files
from tests.support.web_files import WebFiles, web_files


@dataclass(frozen=True)
class Place:
    """A deployment, the stores of a TorchServe and a server of files.

    Attributes:
        service: The deployment.
        workflows: TorchServe's workflow store.
        models: TorchServe's model store.
        web: Where it can download from; only what is below `/open/` is let through here.
    """

    service: Service
    workflows: Path
    models: Path
    web: WebFiles

    def run(self, url: str, *arguments: str) -> tuple[int, list[str]]:
        """Take over a workflow of that url; return the exit code and what was printed."""
        stores = ("--workflow-store", str(self.workflows), "--model-store", str(self.models))
        with ScriptedServer(listing({"seq": url})) as server:
            done = self.service.command("import-torchserve", server.url(""), *stores, *arguments)
        assert done.stderr == ""
        return done.returncode, done.stdout.splitlines()

    def files(self) -> list[Path]:
        """List the files in our stores, hidden ones too."""
        stores = (self.service.workflow_store, self.service.model_store)
        return [path for store in stores for path in stored_files(store)]


@pytest.fixture(name="deployment", scope="module")
def _deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = {"allowed_urls": r"http://127\.0\.0\.1:\d+/open/.*", "download_limit_mb": 1}
    with deployed(tmp_path_factory.mktemp("t"), **settings) as service:
        yield service


@pytest.fixture(name="place")
def _place(deployment: Service, tmp_path: Path) -> Iterator[Place]:
    with web_files() as web:
        place = Place(deployment, tmp_path / "workflows", tmp_path / "models", web)
        place.workflows.mkdir()
        place.models.mkdir()
        yield place
    for name in deployment.names():
        assert deployment.unregister(name).ok
    for path in place.files():
        path.unlink()


def local(**war: object) -> Callable[[Place], str]:
    """Return a fault of the workflow's archive, given by what is other than usual; its model is good."""

    def make(place: Place) -> str:
        make_war(place.workflows, **war)  # type: ignore[arg-type]
        make_mar(place.models)
        return "seq.war"

    return make


def model(**mar: object) -> Callable[[Place], str]:
    """Return a fault of the model's archive."""

    def make(place: Place) -> str:
        make_war(place.workflows)
        make_mar(place.models, **mar)  # type: ignore[arg-type]
        return "seq.war"

    return make


def cut(place: Place) -> str:
    """Cut the model's archive short."""
    make_war(place.workflows)
    path = make_mar(place.models)
    path.write_bytes(path.read_bytes()[:-30])
    return "seq.war"


def other_file(place: Place) -> str:
    """Have another file of the name here."""
    make_mar(place.service.model_store, source="def handle(data, context): ...")
    return model()(place)


def remote(path: str, found: bool = True) -> Callable[[Place], str]:  # noqa: FBT001, FBT002
    """Have the workflow downloaded from a path."""

    def make(place: Place) -> str:
        archive = make_war(place.workflows)
        make_mar(place.models)
        if found:
            place.web.files[path] = archive.read_bytes()
        return place.web.url(path)

    return make


def remote_model(place: Place) -> str:
    """Have the model downloaded from where it may not."""
    closed = place.web.url("/closed/m1.mar")
    make_war(place.workflows, spec=SEQUENTIAL_SPEC.replace("url: m1.mar", f"url: {closed}"))
    return "seq.war"


CONFIGURED = {"modelName": "m1", "handler": "handler.py", "configFile": "c.yaml"}
WRONG = {
    "function missing": (local(handler="def pre_processing(data, context): ..."), "post_processing is neither"),
    "no handler": (local(handler=None), "the archive has no handler file"),
    "handler is no Python": (local(handler="def ("), "Handler handler.py: line 1"),
    "spec": (local(spec="dag: ["), "Failed to parse yaml."),
    "cycle": (local(spec="dag: {a: [b], b: [c], c: [b]}"), "Not a valid DAG"),
    "manifest": (local(manifest={"createdOn": None}), "createdOn is not defined"),
    "bad member": (local(extra_files={"../x": "x"}), "'../x'"),
    "model cut short": (cut, "m1.mar: "),
    "model without handler": (model(source=None), "there is no file 'handler.py' in the archive"),
    "model without manifest": (model(manifest=""), "MAR-INF/MANIFEST.json is not JSON"),
    "configuration": (model(manifest={"model": CONFIGURED}, extra_files={"c.yaml": "- 1"}), "expected a mapping"),
    "model missing": (model(file_name="other.mar"), "'m1.mar' is not in the model store"),
    "model not allowed": (remote_model, "does not match any allowed URL"),
    "another model here": (other_file, "another file 'm1.mar'"),
    "not allowed": (remote("/closed/seq.war"), "does not match any allowed URL"),
    "not there": (remote("/open/seq.war", found=False), "Failed to download archive"),
    "file that is not there": (lambda _: "seq.war", "'seq.war' is not in the workflow store"),
    "path": (lambda _: "../seq.war", "Relative path is not allowed"),
}


@pytest.mark.parametrize(("make", "reason"), WRONG.values(), ids=WRONG)
def test_dry_run_finds_what_the_real_one_fails_at(place: Place, make: Callable[[Place], str], reason: str) -> None:
    """Both say the same in the same words with the same exit code, and leave nothing behind."""
    url = make(place)
    before = place.files()
    dry, real = place.run(url, "--dry-run"), place.run(url)
    assert (dry[0], dry[1][0]) == (real[0], real[1][0])
    assert dry[0] == 1
    assert reason in dry[1][0]
    assert dry[1][0].startswith("seq: not taken over: ")
    assert place.files() == before


@pytest.mark.parametrize("make", [local(), remote("/open/seq.war")], ids=["local", "remote"])
def test_dry_run_notes_what_the_real_one_does(place: Place, make: Callable[[Place], str]) -> None:
    """Copies, downloads and warnings are told beforehand as they are told afterwards."""
    url = make(place)
    dry, real = place.run(url, "--dry-run"), place.run(url)
    spoken = {"would be registered": "registered", "would be ": "", "1 to register": "1 registered"}
    expected = dry[1]
    for there, here in spoken.items():
        expected = [line.replace(there, here) for line in expected]
    assert (dry[0], expected) == real
    assert len(expected) > 2


def test_dry_run_says_that_the_service_does_not_run(tmp_path: Path) -> None:
    """It looks all the same, and fails as the real run would."""
    service = Service(tmp_path / "instance")
    assert service.command("migrate").returncode == 0
    make_war(service.workflow_store)
    make_mar(service.model_store)
    with ScriptedServer(listing({"seq": "seq.war"})) as server:
        done = service.command("import-torchserve", server.url(""), "--dry-run")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "seq: would be registered",
        "1 to register, 0 here already, 0 not taken over",
    ]
    assert "Workflows can only be taken over while the service runs." in done.stderr
