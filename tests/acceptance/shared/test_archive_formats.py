"""Models in the other formats of torch-model-archiver: refused, with commands that make .mar files of them."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import requests

from tests.support.deployments import left_as_found
from tests.support.evidence import assert_error
from tests.support.factories import make_war
from tests.support.service import Service

HANDLER = """\
from pathlib import Path


class Handler:
    def initialize(self, context):
        self.words = (Path(context.system_properties["model_dir"]) / "words.txt").read_text()

    def handle(self, data, context):
        return [row["body"].decode() + self.words for row in data]
"""
PACKED = "mkdir packed && tar -xzmf packed.tar.gz -C packed --strip-components=1 && "
PACKED_TO_MAR = PACKED + "python3 -m zipfile -c packed.mar packed/."
LOOSE_TO_MAR = "python3 -m zipfile -c loose.mar loose/."


def archive_model(store: Path, sources: Path, name: str, form: str) -> None:
    """Run the archiver."""
    program = Path(sys.executable).parent / "torch-model-archiver"
    files: list[str | Path] = ["--handler", "words.py", "--extra-files", "words.txt", "--export-path", store]
    options = ["--model-name", name, "--version", "1.0", "--archive-format", form]
    subprocess.run([program, *options, *files], cwd=sources, check=True)


def register(service: Service, packed: str, loose: str) -> requests.Response:
    """Register a workflow of two models with these urls."""
    spec = f"models:\n  a: {{url: {packed}}}\n  b: {{url: {loose}}}\ndag: {{a: [b]}}\n"
    make_war(service.workflow_store, name="w", spec=spec, handler=None)
    return service.register("w.war")


def test_other_formats_are_refused_with_commands_that_convert_them(service: Service, tmp_path: Path) -> None:
    """What the answer names is run as it stands there; then the workflow predicts."""
    (tmp_path / "words.py").write_text(HANDLER)
    (tmp_path / "words.txt").write_text(" and so on")
    store = service.model_store
    with left_as_found(service):
        archive_model(store, tmp_path, "packed", "tgz")
        archive_model(store, tmp_path, "loose", "no-archive")
        refused = register(service, "packed.tar.gz", "loose")
        assert_error(refused, 400, "WorkflowException", "Workflow w has failed to register. Failures: [")
        commands = re.findall(r"`(.+?)`", refused.json()["message"])
        assert commands == [PACKED_TO_MAR, LOOSE_TO_MAR]
        for command in commands:
            subprocess.run(["sh", "-c", command], cwd=store, check=True)
        registered = register(service, "packed.mar", "loose.mar")
        assert registered.status_code == 200, registered.text
        answer = requests.post(f"{service.inference}/wfpredict/w", data="this", timeout=10)
        assert answer.text == "this and so on and so on"
        for folder in ("packed", "loose"):
            shutil.rmtree(store / folder)


def test_tar_under_the_name_of_a_model_is_refused_as_what_it_is(service: Service, tmp_path: Path) -> None:
    """Renaming makes no .mar of it; TorchServe does not read it either then."""
    (tmp_path / "words.py").write_text(HANDLER)
    (tmp_path / "words.txt").write_text("")
    with left_as_found(service):
        archive_model(service.model_store, tmp_path, "packed", "tgz")
        (service.model_store / "packed.tar.gz").rename(service.model_store / "packed.mar")
        refused = register(service, "packed.mar", "packed.mar")
        details = "Workflow Node w__a failed to register. Details: packed.mar: it is not a zip file but a gzip file"
        assert_error(refused, 400, "WorkflowException", f"Workflow w has failed to register. Failures: [{details}")
