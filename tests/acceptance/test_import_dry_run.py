"""A dry run of `wfmgmt import-torchserve` says what the real one does."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import call
from tests.support.deployments import deployed
from tests.support.factories import SEQUENTIAL_SPEC, make_mar, make_war
from tests.support.listed_workflows import listing
from tests.support.scripted_server import ScriptedServer
from tests.support.service import Service, stored_files
from tests.support.web_files import WebFiles, web_files


@dataclass(frozen=True)
class ImportSetup:
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

    def put(self, name: str, *, war: Mapping[str, Any] | None = None, mar: Mapping[str, Any] | None = None) -> str:
        """Write the archives of a sequential workflow with what is other than usual; return its url."""
        spec = SEQUENTIAL_SPEC.replace("m1", f"{name}-m")
        make_war(self.workflows, **{"name": name, "spec": spec, **(war or {})})
        make_mar(self.models, **{"name": f"{name}-m", **(mar or {})})
        return f"{name}.war"

    def run(self, urls: Mapping[str, str], *arguments: str) -> tuple[int, list[str]]:
        """Import workflows of these urls; return the exit code and what was printed."""
        stores = ("--workflow-store", str(self.workflows), "--model-store", str(self.models))
        with ScriptedServer(listing(urls)) as server:
            done = call(self.service, "import-torchserve", server.url(""), *stores, *arguments)
        assert done.stderr == ""
        return done.returncode, done.stdout.splitlines()

    def files(self) -> list[Path]:
        """List the files in our stores, hidden ones too."""
        stores = (self.service.workflow_store, self.service.model_store)
        return [path for store in stores for path in stored_files(store)]


@pytest.fixture(name="setup", scope="module")
def _setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImportSetup]:
    folder = tmp_path_factory.mktemp("t")
    settings = {"allowed_urls": r"http://127\.0\.0\.1:\d+/open/.*", "download_limit_mb": 1}
    with deployed(folder / "instance", **settings) as service, web_files() as web:
        setup = ImportSetup(service, folder / "workflows", folder / "models", web)
        setup.workflows.mkdir()
        setup.models.mkdir()
        yield setup


#: Puts a workflow of this name where it can be taken over from, or not, and returns its url.
Make = Callable[[ImportSetup, str], str]


def local(**war: Any) -> Make:
    """Return a fault of the workflow's archive, given by what is other than usual; its model is good."""
    return lambda setup, name: setup.put(name, war=war)


def model(**mar: Any) -> Make:
    """Return a fault of the model's archive."""
    return lambda setup, name: setup.put(name, mar=mar)


def cut(setup: ImportSetup, name: str) -> str:
    """Cut the model's archive short."""
    url = setup.put(name)
    path = setup.models / f"{name}-m.mar"
    path.write_bytes(path.read_bytes()[:-30])
    return url


def other_file(setup: ImportSetup, name: str) -> str:
    """Have another file of the name here."""
    make_mar(setup.service.model_store, name=f"{name}-m", source="def handle(data, context): ...")
    return setup.put(name)


def remote(folder: str, *, found: bool = True) -> Make:
    """Have the workflow downloaded from a folder."""

    def make(setup: ImportSetup, name: str) -> str:
        archive = setup.workflows / setup.put(name)
        path = f"{folder}/{archive.name}"
        if found:
            setup.web.files[path] = archive.read_bytes()
        return setup.web.url(path)

    return make


def remote_model(setup: ImportSetup, name: str) -> str:
    """Have the model downloaded from where it may not."""
    spec = SEQUENTIAL_SPEC.replace("url: m1.mar", f"url: {setup.web.url('/closed/m1.mar')}")
    return setup.put(name, war={"spec": spec})


def no_mar(setup: ImportSetup, name: str, file: Path) -> str:
    """Have the workflow name a model that is no .mar file."""
    return setup.put(name, war={"spec": SEQUENTIAL_SPEC.replace("m1.mar", file.name)})


def tar(setup: ImportSetup, name: str) -> str:
    """Have the model in the archiver's format `tgz`."""
    file = setup.models / f"{name}.tar.gz"
    file.touch()
    return no_mar(setup, name, file)


def folder(setup: ImportSetup, name: str) -> str:
    """Have the model in the archiver's format `no-archive`."""
    file = setup.models / name
    file.mkdir()
    return no_mar(setup, name, file)


CONFIGURED = {"modelName": "m1", "handler": "handler.py", "configFile": "c.yaml"}
WRONG: dict[str, tuple[Make, str]] = {
    "function missing": (local(handler="def pre_processing(data, context): ..."), "post_processing is neither"),
    "no handler": (local(handler=None), "the archive has no handler file"),
    "handler is no Python": (local(handler="def ("), "Handler handler.py: line 1"),
    "spec": (local(spec="dag: ["), "Failed to parse yaml."),
    "cycle": (local(spec="dag: {a: [b], b: [c], c: [b]}"), "Not a valid DAG"),
    "manifest": (local(manifest={"createdOn": None}), "createdOn is not defined"),
    "bad member": (local(extra_files={"../x": "x"}), "'../x'"),
    "model cut short": (cut, "model-cut-short-m.mar: "),
    "model without handler": (model(source=None), "there is no file 'handler.py' in the archive"),
    "model without manifest": (model(manifest=""), "MAR-INF/MANIFEST.json is not JSON"),
    "configuration": (model(manifest={"model": CONFIGURED}, extra_files={"c.yaml": "- 1"}), "expected a mapping"),
    "model missing": (model(file_name="other.mar"), "'model-missing-m.mar' is not in the model store"),
    "model is a tar": (tar, "tar -xzmf model-is-a-tar.tar.gz "),
    "model is a folder": (folder, "python3 -m zipfile -c model-is-a-folder.mar model-is-a-folder/."),
    "model not allowed": (remote_model, "does not match any allowed URL"),
    "another model here": (other_file, "another file 'another-model-here-m.mar'"),
    "not allowed": (remote("/closed"), "does not match any allowed URL"),
    "not there": (remote("/open", found=False), "Failed to download archive"),
    "file that is not there": (lambda _, name: f"{name}.war", "'file-that-is-not-there.war' is not in the workflow"),
    "path": (lambda _, name: f"../{name}.war", "Relative path is not allowed"),
}


def name_of(case: str) -> str:
    """Return the name of a case's workflow."""
    return case.replace(" ", "-")


@pytest.fixture(name="said", scope="module")
def _said(setup: ImportSetup) -> tuple[list[str], list[str]]:
    """Return what a dry run and a real one say of all that is wrong, of which they leave nothing behind."""
    urls = {name_of(case): make(setup, name_of(case)) for case, (make, _) in WRONG.items()}
    before = setup.files()
    dry, real = setup.run(urls, "--dry-run"), setup.run(urls)
    assert (dry[0], real[0]) == (1, 1)
    assert setup.files() == before
    assert setup.service.names() == []
    return dry[1], real[1]


@pytest.mark.parametrize(("case", "reason"), [(case, reason) for case, (_, reason) in WRONG.items()], ids=WRONG)
def test_dry_run_finds_what_the_real_one_fails_at(said: tuple[list[str], list[str]], case: str, reason: str) -> None:
    """Both say the same in the same words."""
    [dry], [real] = ([line for line in lines if line.startswith(f"{name_of(case)}: ")] for lines in said)
    assert dry == real
    assert dry.startswith(f"{name_of(case)}: not imported: ")
    assert reason in dry


@pytest.mark.parametrize("make", [local(), remote("/open")], ids=["local", "remote"])
def test_dry_run_notes_what_the_real_one_does(setup: ImportSetup, request: pytest.FixtureRequest, make: Make) -> None:
    """Copies, downloads and warnings are announced in the words of the real import."""
    name = f"good-{request.node.callspec.id}"
    urls = {name: make(setup, name)}
    dry, real = setup.run(urls, "--dry-run"), setup.run(urls)
    spoken = {"would be registered": "registered", "would be ": "", "1 to register": "1 registered"}
    expected = dry[1]
    for there, here in spoken.items():
        expected = [line.replace(there, here) for line in expected]
    assert (dry[0], expected) == real
    assert len(expected) > 2


def test_dry_run_says_that_the_service_does_not_run(tmp_path: Path) -> None:
    """It looks all the same, and fails as the real run would."""
    service = Service(tmp_path / "instance")
    assert call(service, "migrate").returncode == 0
    make_war(service.workflow_store)
    make_mar(service.model_store)
    with ScriptedServer(listing({"seq": "seq.war"})) as server:
        done = call(service, "import-torchserve", server.url(""), "--dry-run")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "seq: would be registered",
        "1 to register, 0 here already, 0 not imported",
    ]
    assert "Workflows can only be imported while the service runs." in done.stderr
