"""Builds the archives that tests work with; every part can be overridden, also by something broken."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

Content = str | bytes

SEQUENTIAL_SPEC = """\
models:
  min-workers: 1
  max-workers: 1
  m1:
    url: m1.mar
dag:
  pre_processing: [m1]
  m1: [post_processing]
"""

WORKFLOW_HANDLER = """\
def pre_processing(data, context):
    return None if data is None else [row["body"] for row in data]


def post_processing(data, context):
    return None if data is None else [row["body"] for row in data]
"""

MODEL_HANDLER = """\
def handle(data, context):
    return None if data is None else [row["body"] for row in data]
"""

CLASS_HANDLER = """
class Handler:
    def initialize(self, context):
        self.context = context

    def handle(self, data, context):
        return data
"""


def make_war(
    folder: Path,
    *,
    name: str = "seq",
    spec: Content | None = SEQUENTIAL_SPEC,
    handler: Content | None = WORKFLOW_HANDLER,
    manifest: Mapping[str, object] | Content | None = None,
    file_name: str | None = None,
    extra_files: Mapping[str, Content] | None = None,
) -> Path:
    """Write a workflow archive and return its path.

    Args:
        folder: Where the archive goes.
        name: Name of the workflow.
        spec: Content of the spec; None leaves the file out, though the manifest names it.
        handler: Content of the handler file; None leaves it out, also from the manifest.
        manifest: Keys that replace those of the manifest, where None removes the key; text replaces all of it.
        file_name: Of the archive, else the name of the workflow and `.war`.
        extra_files: Further members.
    """
    parts: dict[str, object] = {"workflowName": name, "specFile": "spec.yaml"}
    if handler is not None:
        parts["handler"] = "handler.py"
    document = {"createdOn": "01/02/2026 03:04:05", "workflow": parts, "archiverVersion": "0.2.15"}
    files = {"spec.yaml": spec, "handler.py": handler, "WAR-INF/MANIFEST.json": _manifest_text(document, manifest)}
    return _write_zip(folder / (file_name or f"{name}.war"), files, extra_files)


def make_mar(
    folder: Path,
    *,
    name: str = "m1",
    handler: str = "handler.py",
    source: Content | None = MODEL_HANDLER,
    requirements: Content | None = None,
    extra_files: Mapping[str, Content] | None = None,
    manifest: Mapping[str, object] | Content | None = None,
    file_name: str | None = None,
) -> Path:
    """Write a model archive and return its path.

    Args:
        folder: Where the archive goes.
        name: Name of the model.
        handler: What the manifest says; the file goes to the same name without `:function`, with `.py`.
        source: Content of the handler file; None leaves it out.
        requirements: Content of the file that lists libraries; None leaves it out, also from the manifest.
        extra_files: Further members.
        manifest: Keys that replace those of the manifest, where None removes the key; text replaces all of it.
        file_name: Of the archive, else the name of the model and `.mar`.
    """
    model = {"modelName": name, "handler": handler, "modelVersion": "1.0"}
    if requirements is not None:
        model["requirementsFile"] = "requirements.txt"
    document = {
        "createdOn": "01/02/2026 03:04:05",
        "runtime": "python",
        "model": model,
        "archiverVersion": "0.12.0",
    }
    handler_file = handler.partition(":")[0].removesuffix(".py") + ".py"
    files = {
        handler_file: source,
        "requirements.txt": requirements,
        "MAR-INF/MANIFEST.json": _manifest_text(document, manifest),
    }
    return _write_zip(folder / (file_name or f"{name}.mar"), files, extra_files)


def _manifest_text(document: Mapping[str, object], changes: Mapping[str, object] | Content | None) -> Content:
    if isinstance(changes, str | bytes):
        return changes
    changed = {**document, **(changes or {})}
    return json.dumps({key: value for key, value in changed.items() if value is not None}, indent=2)


def _write_zip(path: Path, files: Mapping[str, Content | None], extra_files: Mapping[str, Content] | None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**files, **(extra_files or {})}.items():
            if content is not None:
                archive.writestr(name, content)
    return path
