"""Build the example archives into the stores with TorchServe's public archivers.

An archive that is there already with the same contents stays. Archives carry the time of their making, so a new one
would have another digest, and describe would say of what is registered that its file was changed.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from wfmgmt.settings import Settings

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
MODELS = ("sentiment", "length")
WORKFLOWS = ("sequential", "parallel", "leaves")
#: Further versions, by folder and archive: which workflow each is one of.
VERSIONS = {"sequential-2": "sequential"}


def build(workflow_store: Path, model_store: Path) -> None:
    """Put the .mar files into one folder and the .war files into the other, replacing older ones."""
    workflow_store.mkdir(parents=True, exist_ok=True)
    model_store.mkdir(parents=True, exist_ok=True)
    for name in MODELS:
        handler = HERE / "models" / f"{name}.py"
        archive("torch-model-archiver", "--model-name", name, "--version", "1.0", handler, model_store / f"{name}.mar")
    for folder, name in {**dict(zip(WORKFLOWS, WORKFLOWS, strict=True)), **VERSIONS}.items():
        spec, handler = HERE / folder / "workflow.yaml", HERE / folder / "workflow_handler.py"
        named = ("--workflow-name", name, "--spec-file", spec)
        archive("torch-workflow-archiver", *named, handler, workflow_store / f"{folder}.war")


def archive(program: str, *arguments: str | Path) -> None:
    """Run one of the archivers, unless the archive is there already; the last two arguments are handler and archive."""
    *options, handler, file = arguments
    there = Path(file)
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch, "made")
        made.mkdir()
        # The archivers build in a folder of a fixed name in that of temporary files, where it may be of another user.
        command = [BIN / program, *options, "--handler", handler, "--export-path", made]
        subprocess.run(command, check=True, env={**os.environ, "TMPDIR": scratch})
        (archive,) = made.iterdir()
        if not there.exists() or _contents(there) != _contents(archive):
            shutil.move(archive, there)


def _contents(path: Path) -> dict[str, object]:
    """Return what is in an archive, but for the time of its making."""
    contents: dict[str, object] = {}
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            content = archive.read(name)
            contents[name] = (
                {**json.loads(content), "createdOn": ""} if name.endswith("-INF/MANIFEST.json") else content
            )
    return contents


def main() -> None:
    """Build into the stores that the settings name."""
    settings = Settings.load()
    build(settings.workflow_store, settings.model_store)
    print(f"{', '.join(f'{name}.war' for name in (*WORKFLOWS, *VERSIONS))} are in {settings.workflow_store}")
    print(f"{', '.join(f'{name}.mar' for name in MODELS)} are in {settings.model_store}")


if __name__ == "__main__":
    main()
