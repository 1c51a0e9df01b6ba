"""The manifests of workflow and model archives, and the parts of the archives that registration needs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from wfmgmt.archives.handler_names import check_source
from wfmgmt.archives.reading import ArchiveReader, open_archive
from wfmgmt.domain.handler_strings import HandlerName, handler_file, parse_handler
from wfmgmt.domain.limits import Limits
from wfmgmt.domain.model_config import ModelConfig, parse_model_config
from wfmgmt.domain.names import quoted
from wfmgmt.domain.requirements import FILE_NAME, RequirementsFile, requirements_name
from wfmgmt.errors import InvalidArchive, InvalidWorkflow

WAR_MANIFEST = "WAR-INF/MANIFEST.json"
MAR_MANIFEST = "MAR-INF/MANIFEST.json"

_MAX_LISTED = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowArchive:
    """The parts of a .war that registration needs.

    Attributes:
        name: Name of the workflow; None when the manifest gives none.
        spec_file: Name of the spec in the archive.
        spec_text: Its content.
        handler: Name of the handler file in the archive; None when the workflow has no functions.
        handler_source: Its content; None when it comes compiled.
        requirements: The file that lists the libraries of the functions, if there is one.
    """

    name: str | None
    spec_file: str
    spec_text: str
    handler: str | None
    handler_source: str | None
    requirements: RequirementsFile | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelArchive:
    """The facts about a model in a .mar: its manifest and its configuration.

    Attributes:
        model_name: Name that the archiver was given.
        handler: `handler.py`, `handler.py:function`, `module:function`, or the name of a built-in handler.
        manifest: All of the manifest.
        config: The configuration file that it names; None when it names none.
        requirements: The file of libraries that it names; None when it names none.
    """

    model_name: str
    handler: str
    manifest: dict[str, Any]
    config: ModelConfig | None
    requirements: RequirementsFile | None = None


class UnpackedModel(NamedTuple):
    """The facts about a model that its workers need.

    Attributes:
        handler: As in the manifest.
        manifest: All of the manifest.
    """

    handler: str
    manifest: dict[str, Any]


def read_war(
    source: Path | BinaryIO,
    limits: Limits,
    folder: Path | None = None,
    *,
    is_known: bool = False,
    shown_name: str | None = None,
) -> WorkflowArchive:
    """Return what a workflow archive holds, after reading all of it once.

    Args:
        source: The file, or its path.
        limits: Bounds on the archive and its parts.
        folder: An empty folder that all of it is unpacked into; None to check it only.
        is_known: Whether all of it was checked before, so that only these parts are read.
        shown_name: What messages call the archive; the file's name unless given.

    Raises:
        InvalidWorkflow: The file is no archive that can be trusted, or its manifest, spec or handler is missing, not
            text, too long or does not have the right shape.
        OSError: The file cannot be read, or the folder not be written to.

    Source:
        TorchServe 0.12.0 for the texts on what the manifest does not define.
    """
    try:
        with open_archive(source, limits) as archive:
            workflow = workflow_in(archive, limits)
            if not is_known:
                archive.read_all(folder)
            return workflow
    except InvalidArchive as exc:
        raise InvalidWorkflow(f"Workflow archive {shown_name or source.name}: {exc.reason}") from exc


def read_mar(
    source: Path | BinaryIO, limits: Limits, folder: Path | None = None, *, is_known: bool = False
) -> ModelArchive:
    """Return what a model archive says about its model, after reading all of it once.

    Args:
        source: The file, or its path.
        limits: Bounds on the archive and its parts.
        folder: An empty folder that all of it is unpacked into; None to check it only.
        is_known: Whether all of it was checked before, so that only these facts are read.

    Raises:
        InvalidArchive: The file is no archive that can be trusted, or a part of it is missing or wrong.
        OSError: The file cannot be read, or the folder not be written to.
    """
    with open_archive(source, limits) as archive:
        model = model_in(archive, limits)
        if not is_known:
            archive.read_all(folder)
        return model


def unpacked_model(folder: Path) -> UnpackedModel:
    """Return what a model archive says that `read_mar` has unpacked into a folder."""
    manifest = json.loads((folder / MAR_MANIFEST).read_text("utf-8-sig"))
    return UnpackedModel(manifest["model"]["handler"], manifest)


def model_in(archive: ArchiveReader, limits: Limits) -> ModelArchive:
    """Return what an open model archive says about its model.

    Raises:
        InvalidArchive: Its manifest is missing or does not have the right shape, or a file that it names is missing.
    """
    manifest = read_manifest(archive, MAR_MANIFEST, limits)
    model = _section(manifest, "model", MAR_MANIFEST)
    model_name = _required_text(model, "modelName", f"{MAR_MANIFEST}: model")
    handler = _required_text(model, "handler", f"{MAR_MANIFEST}: model")
    _check_model_handler(archive, handler, limits)
    return ModelArchive(
        model_name=model_name,
        handler=handler,
        manifest=manifest,
        config=_read_config(archive, model, limits),
        requirements=_read_requirements(archive, requirements_name(manifest), limits),
    )


def requirements_of_mar(path: Path, limits: Limits) -> RequirementsFile | None:
    """Return the file of libraries that a model archive names, None when it names none; no more of it is read.

    Raises:
        InvalidArchive: The file is no archive that can be trusted, or its manifest is missing or wrong.
        OSError: The file cannot be read.
    """
    with open_archive(path, limits) as archive:
        return _read_requirements(archive, requirements_name(read_manifest(archive, MAR_MANIFEST, limits)), limits)


def _read_requirements(archive: ArchiveReader, name: str | None, limits: Limits) -> RequirementsFile | None:
    """Return a file of libraries as it is: whether it matters that it is wrong depends on the settings."""
    if name is None:
        return None
    can_be_read = name in archive.names and archive.size(name) <= limits.spec_bytes
    return RequirementsFile(name=name, content=archive.read(name, limits.spec_bytes) if can_be_read else None)


def _read_config(archive: ArchiveReader, model: dict[str, Any], limits: Limits) -> ModelConfig | None:
    """Return what the configuration file of a model says to the server.

    Raises:
        InvalidArchive: There is no such file, or it is not text, too long or no mapping.
    """
    where = f"{MAR_MANIFEST}: model"
    file = _text(model, "configFile", where)
    if file is None:
        return None
    text = _read_part(archive, file, f"{where}.configFile", (".yaml", ".yml"), limits.spec_bytes)
    return parse_model_config(file, text)


def workflow_in(archive: ArchiveReader, limits: Limits) -> WorkflowArchive:
    """Return what an open workflow archive holds.

    Raises:
        InvalidArchive: A part of it is missing or wrong.
        InvalidWorkflow: The manifest does not define something, in the words of TorchServe.
    """
    manifest = read_manifest(archive, WAR_MANIFEST, limits)
    where = f"{WAR_MANIFEST}: workflow"
    workflow = _section(manifest, "workflow", WAR_MANIFEST)
    if not _is_defined(manifest, "archiverVersion"):
        raise InvalidWorkflow("Workflow archive version is not defined.")
    if not _is_defined(manifest, "createdOn"):
        raise InvalidWorkflow("Workflow archive createdOn is not defined.")
    spec_file = _required_text(workflow, "specFile", where)
    handler = _text(workflow, "handler", where)
    return WorkflowArchive(
        name=_text(workflow, "workflowName", where) or _text(workflow, "modelName", where),
        spec_file=spec_file,
        spec_text=_read_part(archive, spec_file, f"{where}.specFile", (".yaml", ".yml"), limits.spec_bytes),
        handler=handler,
        handler_source=handler and _read_handler(archive, handler, f"{where}.handler", limits.handler_bytes),
        requirements=_read_requirements(archive, FILE_NAME if FILE_NAME in archive.names else None, limits),
    )


def _read_handler(archive: ArchiveReader, handler: str, where: str, max_bytes: int) -> str | None:
    """Return the source of a workflow's functions, None when the file that the manifest names comes compiled.

    Raises:
        InvalidArchive: There is no such file, or it is not text or too long.

    Source:
        TorchServe 0.12.0, which appends each function to this name, so the name has none of its own. It does not find
        a handler at the top of the archive when the name has a folder, as it does for models.
    """
    name = _handler_name(handler, where)
    file = None if name.function or "/" in handler else handler_file(name, frozenset(archive.names))
    if file is not None and not file.endswith(".py"):
        return None
    return _read_part(archive, file or handler, where, (".py",), max_bytes)


def read_manifest(archive: ArchiveReader, member: str, limits: Limits) -> dict[str, Any]:
    """Return the manifest, which is a JSON object of values that any other program can store.

    Raises:
        InvalidArchive: It is missing, too long or not such an object.
    """
    if member not in archive.names:
        elsewhere = [name for name in archive.names if name.endswith(f"/{member}")]
        hint = f"; {quoted(elsewhere[0])} is not at the top of the archive" if elsewhere else ""
        raise InvalidArchive(f"{member} is missing{hint}")
    text = _decoded(archive.read(member, limits.manifest_bytes), member)
    try:
        manifest = json.loads(text)
        # Python reads NaN, infinite numbers and halves of surrogate pairs, which other programs do not take.
        json.dumps(manifest, ensure_ascii=False, allow_nan=False).encode()
    except RecursionError as exc:
        raise InvalidArchive(f"{member} is nested too deeply") from exc
    except UnicodeEncodeError as exc:
        raise InvalidArchive(f"{member} has an escape for half a surrogate pair") from exc
    except ValueError as exc:
        raise InvalidArchive(f"{member} is not JSON: {exc}") from exc
    if not isinstance(manifest, dict):
        raise InvalidArchive(f"{member}: expected an object, got {_described(manifest)}")
    return manifest


def _section(manifest: dict[str, Any], key: str, member: str) -> dict[str, Any]:
    """Return an object in the manifest.

    Raises:
        InvalidArchive: It is missing or something else.
    """
    section = manifest.get(key)
    if not isinstance(section, dict):
        raise InvalidArchive(f"{member}: {key}: expected an object, got {_described(section)}")
    return section


def _required_text(section: dict[str, Any], key: str, where: str) -> str:
    """Return a text in a section of the manifest.

    Raises:
        InvalidArchive: It is missing, empty or something else.
    """
    text = _text(section, key, where)
    if text is None:
        raise InvalidArchive(f"{where}.{key} is not defined")
    return text


def _text(section: dict[str, Any], key: str, where: str) -> str | None:
    """Return a text in a section of the manifest, None when it is missing or empty.

    Raises:
        InvalidArchive: It is something else.
    """
    value = section.get(key)
    if value is not None and not isinstance(value, str):
        raise InvalidArchive(f"{where}.{key}: expected text, got {_described(value)}")
    return value or None


def _is_defined(manifest: dict[str, Any], key: str) -> bool:
    """Return whether the manifest has a date or version, which hand-made ones may give as a number.

    Raises:
        InvalidArchive: There is something that is neither.
    """
    value = manifest.get(key)
    if isinstance(value, dict | list | bool):
        raise InvalidArchive(f"{WAR_MANIFEST}: {key}: expected text, got {_described(value)}")
    return value not in (None, "")


def _read_part(archive: ArchiveReader, name: str, where: str, suffixes: tuple[str, ...], max_bytes: int) -> str:
    """Return the text of a file that the manifest names.

    Args:
        archive: The archive.
        name: The file.
        where: The key that names it, for messages.
        suffixes: What the names of such files usually end in, for a list of what there is.
        max_bytes: Length of the file.

    Raises:
        InvalidArchive: There is no such file, or it is not text or too long.
    """
    if name not in archive.names:
        there = _listed([other for other in archive.names if other.endswith(suffixes)], suffixes)
        raise InvalidArchive(f"{where}: there is no file {quoted(name)} in the archive; it has {there}")
    return _decoded(archive.read(name, max_bytes), quoted(name))


def _decoded(content: bytes, what: str) -> str:
    """Return the text of a file without the mark that some editors put at its beginning.

    Raises:
        InvalidArchive: It is not UTF-8.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise InvalidArchive(f"{what} is not UTF-8 text, byte {exc.start} is the first that is wrong") from exc


def _check_model_handler(archive: ArchiveReader, handler: str, limits: Limits) -> None:
    """Refuse a handler that names a file which is not in the archive, or which is no Python.

    Without the suffix of a file, it may be installed or built in, which only its import can show. So can only the
    import of one that is longer than files are parsed here.

    Raises:
        InvalidArchive: The file is missing, or Python cannot read it.
    """
    where = f"{MAR_MANIFEST}: model.handler"
    name, names = _handler_name(handler, where), archive.names
    file = handler_file(name, frozenset(names))
    if file is not None and file.endswith(".py") and archive.size(file) <= limits.handler_bytes:
        try:
            check_source(archive.read(file, limits.handler_bytes), file)
        except InvalidWorkflow as exc:
            raise InvalidArchive(str(exc)) from exc
    if name.is_file and file is None:
        there = _listed([name for name in names if name.endswith(".py")], (".py",))
        raise InvalidArchive(
            f"{where} is {quoted(handler)}, but there is no file {quoted(f'{name.module}.py')} in the archive; "
            f"it has {there}"
        )


def _handler_name(handler: str, where: str) -> HandlerName:
    """Return a handler string, taken apart.

    Raises:
        InvalidArchive: It does not name a module.
    """
    try:
        return parse_handler(handler)
    except ValueError as exc:
        raise InvalidArchive(f"{where}: expected the name of a Python module, got {quoted(handler)}") from exc


def _listed(names: Sequence[str], suffixes: tuple[str, ...]) -> str:
    """Return the names of files for a message, or say that there are none."""
    if not names:
        return f"no {' or '.join(suffixes)} file"
    more = len(names) - _MAX_LISTED
    return ", ".join(map(quoted, names[:_MAX_LISTED])) + (f" and {more} more" if more > 0 else "")


def _described(value: object) -> str:
    """Return the kind of a JSON value."""
    kinds = {dict: "an object", list: "an array", str: "text", bool: "a boolean", type(None): "nothing"}
    return kinds.get(type(value), "a number")
