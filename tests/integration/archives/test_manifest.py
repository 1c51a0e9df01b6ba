"""What workflow and model archives say about themselves."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.factories import MODEL_HANDLER, SEQUENTIAL_SPEC, WORKFLOW_HANDLER, make_mar, make_war
from wfmgmt.archives.manifest import read_mar, read_war
from wfmgmt.domain.limits import Limits
from wfmgmt.domain.requirements import RequirementsFile
from wfmgmt.errors import InvalidArchive, InvalidWorkflow

LIMITS = Limits()
ARCHIVERS = Path(sys.executable).parent


def _run_archiver(program: str, options: list[str], folder: Path) -> None:
    """Run a public archiver in a folder, also for its temporary files: their names would be those of other runs."""
    private = folder / "tmp"
    private.mkdir()
    subprocess.run([ARCHIVERS / program, *options], cwd=folder, env={"TMPDIR": str(private)}, check=True)


def test_read_war_gives_name_spec_and_handler(tmp_path: Path) -> None:
    """All that registration needs comes out of the archive at once."""
    archive = read_war(make_war(tmp_path), LIMITS)
    assert (archive.name, archive.spec_file, archive.handler) == ("seq", "spec.yaml", "handler.py")
    assert (archive.spec_text, archive.handler_source) == (SEQUENTIAL_SPEC, WORKFLOW_HANDLER)


def test_read_war_takes_what_the_public_archiver_makes(tmp_path: Path) -> None:
    """An archive of torch-workflow-archiver is read."""
    (tmp_path / "flow.yaml").write_text(SEQUENTIAL_SPEC)
    (tmp_path / "functions.py").write_text(WORKFLOW_HANDLER)
    options = ["--workflow-name", "public", "--spec-file", "flow.yaml", "--handler", "functions.py"]
    _run_archiver("torch-workflow-archiver", options, tmp_path)
    archive = read_war(tmp_path / "public.war", LIMITS)
    assert (archive.name, archive.spec_file, archive.handler) == ("public", "flow.yaml", "functions.py")
    assert (archive.spec_text, archive.handler_source) == (SEQUENTIAL_SPEC, WORKFLOW_HANDLER)


@pytest.mark.parametrize("handler", ["functions.py", "functions:handle", "image_classifier"])
@pytest.mark.parametrize("form", ["default", "zip-store"])
def test_read_mar_takes_what_the_public_archiver_makes(tmp_path: Path, handler: str, form: str) -> None:
    """An archive of torch-model-archiver is read with a handler of each form."""
    (tmp_path / "functions.py").write_text(MODEL_HANDLER)
    options = ["--model-name", "public", "--version", "1.0", "--handler", handler, "--archive-format", form]
    if ":" in handler:
        options += ["--extra-files", "functions.py"]
        (tmp_path / handler).write_text(MODEL_HANDLER)
    _run_archiver("torch-model-archiver", options, tmp_path)
    archive = read_mar(tmp_path / "public.mar", LIMITS)
    assert (archive.model_name, archive.handler) == ("public", handler)
    assert archive.manifest["model"]["modelVersion"] == "1.0"


def test_read_mar_finds_the_libraries_that_the_public_archiver_was_given(tmp_path: Path) -> None:
    """The manifest names the file, whatever it is called, and the archive has it."""
    (tmp_path / "libraries.txt").write_text("numpy>=2\n")
    (tmp_path / "functions.py").write_text(MODEL_HANDLER)
    options = ["--model-name", "public", "--version", "1.0", "--handler", "functions.py", "-r", "libraries.txt"]
    _run_archiver("torch-model-archiver", options, tmp_path)
    assert read_mar(tmp_path / "public.mar", LIMITS).requirements == RequirementsFile(
        name="libraries.txt", content=b"numpy>=2\n"
    )


def test_read_war_finds_the_libraries_at_the_top_of_the_archive(tmp_path: Path) -> None:
    """Where `torch-workflow-archiver --extra-files` puts them; a file elsewhere is none."""
    there = make_war(tmp_path, extra_files={"requirements.txt": "numpy>=2"})
    elsewhere = make_war(tmp_path, name="other", extra_files={"sub/requirements.txt": "numpy>=2"})
    assert read_war(there, LIMITS).requirements == RequirementsFile(name="requirements.txt", content=b"numpy>=2")
    assert read_war(elsewhere, LIMITS).requirements is None


@pytest.mark.parametrize("content", [None, b"#" * (LIMITS.spec_bytes + 1)], ids=["missing", "too long"])
def test_read_mar_takes_an_archive_whose_libraries_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    """Whether that matters is for the settings to say."""
    model = {"modelName": "m1", "handler": "handler.py", "requirementsFile": "r.txt"}
    path = make_mar(tmp_path, manifest={"model": model}, extra_files={} if content is None else {"r.txt": content})
    assert read_mar(path, LIMITS).requirements == RequirementsFile(name="r.txt", content=None)


@pytest.mark.parametrize(
    ("workflow", "name"),
    [
        ({"workflowName": "a", "modelName": "b"}, "a"),
        ({"modelName": "b"}, "b"),
        ({"workflowName": None, "modelName": "b"}, "b"),
        ({"workflowName": "", "modelName": "b"}, "b"),
        ({}, None),
    ],
    ids=["both", "old key", "null", "empty", "none"],
)
def test_read_war_finds_the_name_under_either_key(
    tmp_path: Path, workflow: Mapping[str, object], name: str | None
) -> None:
    """A missing name is no error here, for the request may give one."""
    path = make_war(tmp_path, manifest={"workflow": {"specFile": "spec.yaml", **workflow}})
    assert read_war(path, LIMITS).name == name


def test_read_war_takes_a_workflow_without_handler(tmp_path: Path) -> None:
    """A workflow of models alone needs no handler file."""
    archive = read_war(make_war(tmp_path, handler=None), LIMITS)
    assert archive.handler is None
    assert archive.handler_source is None


def test_read_war_ignores_byte_order_marks(tmp_path: Path) -> None:
    """Editors that mark UTF-8 do no harm."""
    mark = b"\xef\xbb\xbf"
    manifest = {"createdOn": 1, "archiverVersion": 0.2, "workflow": {"specFile": "spec.yaml", "handler": "handler.py"}}
    path = make_war(
        tmp_path, spec=mark + b"dag: {}", handler=mark + b"a = 1", manifest=mark + json.dumps(manifest).encode()
    )
    archive = read_war(path, LIMITS)
    assert (archive.spec_text, archive.handler_source) == ("dag: {}", "a = 1")


BAD_MANIFESTS = {
    "empty": (b"", "is not JSON: Expecting value"),
    "not JSON": (b"{'a': 1}", "is not JSON: Expecting property name"),
    "not UTF-8": (b'{"a": "\xff"}', "is not UTF-8 text, byte 7 is the first that is wrong"),
    "UTF-16": ("{}".encode("utf-16"), "is not UTF-8 text, byte 0"),
    "array": (b"[]", ": expected an object, got an array"),
    "text": (b'"a"', ": expected an object, got text"),
    "null": (b"null", ": expected an object, got nothing"),
    "number": (b"1", ": expected an object, got a number"),
    "NaN": (b'{"a": NaN}', "is not JSON: Out of range float values"),
    "infinite": (b'{"a": 1e999}', "is not JSON: Out of range float values"),
    "5000 digits": (b'{"a": ' + b"9" * 5000 + b"}", "is not JSON: Exceeds the limit"),
    "half a pair": (b'{"a": "\\ud800"}', "has an escape for half a surrogate pair"),
    "half a pair in a key": (b'{"\\udfff": 1}', "has an escape for half a surrogate pair"),
    "nested": (b"[" * 30_000, "is nested too deeply"),
    "too long": (b" " * 70_000, "is longer than 65536 bytes"),
}


@pytest.mark.parametrize(("manifest", "reason"), BAD_MANIFESTS.values(), ids=BAD_MANIFESTS)
def test_manifests_are_refused_when_they_are_no_json_objects(tmp_path: Path, manifest: bytes, reason: str) -> None:
    """The same holds for both kinds of archives, and the message names the file."""
    with pytest.raises(InvalidWorkflow) as of_workflow:
        read_war(make_war(tmp_path, manifest=manifest), LIMITS)
    with pytest.raises(InvalidArchive) as of_model:
        read_mar(make_mar(tmp_path, manifest=manifest), LIMITS)
    assert str(of_workflow.value).startswith("Workflow archive seq.war: ")
    for message, member in (
        (str(of_workflow.value), "WAR-INF/MANIFEST.json"),
        (str(of_model.value), "MAR-INF/MANIFEST.json"),
    ):
        assert member in message
        assert reason in message


SPEC_ONLY = {"specFile": "spec.yaml"}


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ({"archiverVersion": None}, "Workflow archive version is not defined."),
        ({"archiverVersion": ""}, "Workflow archive version is not defined."),
        ({"createdOn": None}, "Workflow archive createdOn is not defined."),
        ({"createdOn": []}, "WAR-INF/MANIFEST.json: createdOn: expected text, got an array"),
        ({"workflow": None}, "WAR-INF/MANIFEST.json: workflow: expected an object, got nothing"),
        ({"workflow": []}, "WAR-INF/MANIFEST.json: workflow: expected an object, got an array"),
        ({"workflow": {}}, "WAR-INF/MANIFEST.json: workflow.specFile is not defined"),
        ({"workflow": {"specFile": 1}}, "WAR-INF/MANIFEST.json: workflow.specFile: expected text, got a number"),
        ({"workflow": {**SPEC_ONLY, "handler": {}}}, "workflow.handler: expected text, got an object"),
        ({"workflow": {**SPEC_ONLY, "workflowName": True}}, "workflow.workflowName: expected text, got a boolean"),
        (
            {"workflow": {"specFile": "other.yaml"}},
            "workflow.specFile: there is no file 'other.yaml' in the archive; it has 'spec.yaml'",
        ),
        (
            {"workflow": {"specFile": "../spec.yaml"}},
            "workflow.specFile: there is no file '../spec.yaml' in the archive; it has 'spec.yaml'",
        ),
        ({"workflow": {"specFile": "/etc/passwd"}}, "there is no file '/etc/passwd' in the archive"),
        (
            {"workflow": {**SPEC_ONLY, "handler": "other.py"}},
            "workflow.handler: there is no file 'other.py' in the archive; it has 'handler.py'",
        ),
        ({"workflow": {**SPEC_ONLY, "handler": "../../handler.py"}}, "there is no file '../../handler.py'"),
    ],
    ids=[
        "no version",
        "empty version",
        "no date",
        "odd date",
        "no workflow",
        "array",
        "no spec",
        "odd spec",
        "odd handler",
        "odd name",
        "spec missing",
        "spec outside",
        "spec absolute",
        "handler missing",
        "handler outside",
    ],
)
def test_read_war_is_refused_when_the_manifest_has_the_wrong_shape(
    tmp_path: Path, manifest: Mapping[str, object], message: str
) -> None:
    """The message is TorchServe's where it has one, else it names the key and what there is."""
    with pytest.raises(InvalidWorkflow) as caught:
        read_war(make_war(tmp_path, manifest=manifest), LIMITS)
    assert message in str(caught.value)
    assert str(caught.value) == message or not message.endswith(".")


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"spec": None}, "there is no file 'spec.yaml' in the archive; it has no .yaml or .yml file"),
        ({"spec": b"\xff"}, "'spec.yaml' is not UTF-8 text, byte 0"),
        ({"handler": b"a = '\xe4'"}, "'handler.py' is not UTF-8 text, byte 5"),
        ({"spec": b" " * 300_000}, "'spec.yaml' is longer than 262144 bytes"),
        ({"handler": b" " * 600_000}, "'handler.py' is longer than 524288 bytes"),
    ],
    ids=["no spec", "spec not UTF-8", "handler not UTF-8", "long spec", "long handler"],
)
def test_read_war_is_refused_when_a_part_is_missing_or_no_text(
    tmp_path: Path, parts: dict[str, bytes | None], message: str
) -> None:
    """The message names the member."""
    path = make_war(tmp_path, spec=parts.get("spec", SEQUENTIAL_SPEC), handler=parts.get("handler", WORKFLOW_HANDLER))
    with pytest.raises(InvalidWorkflow) as caught:
        read_war(path, LIMITS)
    assert message in str(caught.value)


def test_read_war_names_the_archive_when_it_is_broken(tmp_path: Path) -> None:
    """What is wrong with the zip itself comes out as a fault of the workflow."""
    path = tmp_path / "broken.war"
    path.write_bytes(b"no zip")
    with pytest.raises(InvalidWorkflow, match=r"^Workflow archive broken\.war: it is not a zip file$"):
        read_war(path, LIMITS)


def test_read_war_says_where_the_manifest_is_when_it_is_in_a_folder(tmp_path: Path) -> None:
    """An archive of the folder instead of its content is a common mistake."""
    path = make_mar(tmp_path, extra_files={"seq/WAR-INF/MANIFEST.json": "{}"}, file_name="seq.war")
    with pytest.raises(
        InvalidWorkflow,
        match=r"WAR-INF/MANIFEST\.json is missing; 'seq/WAR-INF/MANIFEST\.json' is not at the top of the archive$",
    ):
        read_war(path, LIMITS)


@pytest.mark.parametrize(
    ("handler", "files"),
    [
        ("handler.py", ["handler.py"]),
        ("handler.py:entry", ["handler.py"]),
        ("handler:entry", ["handler.py"]),
        ("sub/handler.py", ["handler.py"]),
        ("package:entry", ["package/__init__.py"]),
        ("package.module:entry", ["package/module.py"]),
        ("image_classifier", []),
        ("handler", ["handler.py"]),
        ("my-handler.py", ["my-handler.py"]),
        ("sub/handler.py:entry", ["sub/handler.py"]),
        ("handler.py", ["handler.abi3.so"]),
        ("handler.py:Class.entry:x", ["handler.py"]),
        ("handler.py:", ["handler.py"]),
        ("installed.module:entry", []),
    ],
    ids=[
        *("file", "file and function", "module", "path", "package", "dotted", "built in", "bare module"),
        *("hyphen", "folder", "compiled", "odd function", "no function", "installed"),
    ],
)
def test_read_mar_takes_handlers_that_can_be_found(tmp_path: Path, handler: str, files: list[str]) -> None:
    """Every form that TorchServe finds a handler by is taken."""
    path = make_mar(tmp_path, handler=handler, source=None, extra_files=dict.fromkeys(files, MODEL_HANDLER))
    assert read_mar(path, LIMITS).handler == handler


@pytest.mark.parametrize(
    ("handler", "files"),
    [
        ("loading-memory-error.py", ["loading-memory-error.py"]),
        ("handler", ["handler.py"]),
        ("package.module", ["package/module.py"]),
        ("sub/handler.py", ["sub/handler.py"]),
    ],
)
def test_read_war_takes_handlers_that_can_be_found(tmp_path: Path, handler: str, files: list[str]) -> None:
    """Functions may be in any module that TorchServe finds, and their source is read from there."""
    extra_files = dict.fromkeys(files, WORKFLOW_HANDLER)
    manifest = {"workflow": {"specFile": "spec.yaml", "handler": handler}}
    archive = read_war(make_war(tmp_path, handler=None, manifest=manifest, extra_files=extra_files), LIMITS)
    assert (archive.handler, archive.handler_source) == (handler, WORKFLOW_HANDLER)


def test_read_war_takes_functions_that_come_compiled(tmp_path: Path) -> None:
    """There is no source to look into, which is left to the worker."""
    manifest = {"workflow": {"specFile": "spec.yaml", "handler": "handler.py"}}
    archive = read_war(make_war(tmp_path, handler=None, manifest=manifest, extra_files={"handler.pyc": b"\0"}), LIMITS)
    assert (archive.handler, archive.handler_source) == ("handler.py", None)


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        ("other.py", "model.handler is 'other.py', but there is no file 'other.py' in the archive; it has 'here.py'"),
        ("other.py:entry", "but there is no file 'other.py' in the archive"),
        ("../sub/other.py", "but there is no file 'other.py' in the archive"),
        (".here.py", "model.handler: expected the name of a Python module, got '.here.py'"),
        (":entry", "model.handler: expected the name of a Python module, got ':entry'"),
    ],
    ids=["file", "file and function", "folder outside", "no module", "function alone"],
)
def test_read_mar_is_refused_when_its_handler_is_missing(tmp_path: Path, handler: str, message: str) -> None:
    """The message names the file and what there is instead."""
    path = make_mar(tmp_path, handler=handler, source=None, extra_files={"here.py": MODEL_HANDLER})
    with pytest.raises(InvalidArchive) as caught:
        read_mar(path, LIMITS)
    assert message in caught.value.reason


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (None, "MAR-INF/MANIFEST.json: model: expected an object, got nothing"),
        ({"handler": "handler.py"}, "MAR-INF/MANIFEST.json: model.modelName is not defined"),
        ({"modelName": "m1"}, "MAR-INF/MANIFEST.json: model.handler is not defined"),
        (
            {"modelName": 1, "handler": "handler.py"},
            "MAR-INF/MANIFEST.json: model.modelName: expected text, got a number",
        ),
    ],
    ids=["no model", "no name", "no handler", "odd name"],
)
def test_read_mar_is_refused_when_the_manifest_has_the_wrong_shape(
    tmp_path: Path, model: Mapping[str, object] | None, message: str
) -> None:
    """The message names the key."""
    with pytest.raises(InvalidArchive) as caught:
        read_mar(make_mar(tmp_path, manifest={"model": model}), LIMITS)
    assert caught.value.reason == message


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "a", "spec.yaml", "handler.py", "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["workflow", "model", "specFile", "handler", "modelName", "createdOn", "archiverVersion"]),
            inner,
        )
    ),
    max_leaves=10,
)


@settings(max_examples=200)
@given(manifest=st.binary(max_size=50) | json_values.map(json.dumps))
def test_manifests_raise_nothing_but_the_errors_for_them(
    tmp_path_factory: pytest.TempPathFactory, manifest: str | bytes
) -> None:
    """An archive with any manifest is read or refused."""
    folder = tmp_path_factory.mktemp("manifest")
    try:
        read_war(make_war(folder, manifest=manifest), LIMITS)
    except InvalidWorkflow as exc:
        assert str(exc).startswith("Workflow archive ")  # noqa: PT017 -- some manifests are fine
    try:
        read_mar(make_mar(folder, manifest=manifest), LIMITS)
    except InvalidArchive as exc:
        assert exc.reason  # noqa: PT017 -- some manifests are fine
