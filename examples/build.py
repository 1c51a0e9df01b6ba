"""Build the example archives into the stores with TorchServe's public archivers."""

import subprocess
import sys
from pathlib import Path

from wfmgmt.settings import Settings

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
MODELS = ("sentiment", "length")
WORKFLOWS = ("sequential", "parallel", "leaves")


def build(workflow_store: Path, model_store: Path) -> None:
    """Put the .mar files into one folder and the .war files into the other, replacing older ones."""
    workflow_store.mkdir(parents=True, exist_ok=True)
    model_store.mkdir(parents=True, exist_ok=True)
    for name in MODELS:
        handler = HERE / "models" / f"{name}.py"
        _archive("torch-model-archiver", "--model-name", name, "--version", "1.0", handler, model_store)
    for name in WORKFLOWS:
        spec, handler = HERE / name / "workflow.yaml", HERE / name / "workflow_handler.py"
        _archive("torch-workflow-archiver", "--workflow-name", name, "--spec-file", spec, handler, workflow_store)


def _archive(program: str, *arguments: str | Path) -> None:
    *options, handler, folder = arguments
    command = [BIN / program, *options, "--handler", handler, "--export-path", folder, "--force"]
    subprocess.run(command, check=True)


def main() -> None:
    """Build into the stores that the settings name."""
    settings = Settings.load()
    build(settings.workflow_store, settings.model_store)
    print(f"{', '.join(f'{name}.war' for name in WORKFLOWS)} are in {settings.workflow_store}")
    print(f"{', '.join(f'{name}.mar' for name in MODELS)} are in {settings.model_store}")


if __name__ == "__main__":
    main()
