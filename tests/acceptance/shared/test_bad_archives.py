"""Every bad input to a registration: refused with a clear message, and nothing left of it anywhere."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support import bad_zips
from tests.support.bad_zips import changed, content, cut, patched, war
from tests.support.evidence import assert_error, assert_failure_is_audited, nothing_left
from tests.support.factories import make_mar, make_war
from tests.support.service import Service

BAD_REQUEST = (400, "BadRequestException")
INVALID = (400, "InvalidWorkflowException")
INVALID_DAG = (400, "InvalidDAGException")
NOT_FOUND = (404, "WorkflowNotFoundException")
GOOD_ARCHIVE = war()
JSON = {"Content-Type": "application/json"}
MANIFEST = "Workflow archive bad.war: WAR-INF/MANIFEST.json"
NAME_FORM = "it has to be of the form [A-Za-z0-9][A-Za-z0-9._-]{0,127}"
M1 = "m1: {url: m1.mar}"


@dataclass(frozen=True, kw_only=True)
class Bad:
    """One bad input and its answer.

    Attributes:
        name: What is bad.
        answer: Status and type.
        message: How the message starts.
        write: Writes `bad.war` into the workflow store.
        request: What is sent, as arguments of `requests.post`.
    """

    name: str
    answer: tuple[int, str]
    message: str
    write: bad_zips.Write = GOOD_ARCHIVE
    request: Mapping[str, Any] = field(default_factory=lambda: {"params": {"url": "bad.war"}})


def zipped(name: str, message: str, write: bad_zips.Write) -> Bad:
    """Return a file that is no archive to be trusted."""
    return Bad(name=f"zip: {name}", answer=INVALID, message=f"Workflow archive bad.war: {message}", write=write)


def manifest(name: str, message: str, text: Any = None, **changes: object) -> Bad:
    """Return an archive with a bad manifest: other text, or other keys."""
    return Bad(name=f"manifest: {name}", answer=INVALID, message=message, write=war(manifest=text or changes))


def spec(name: str, message: str, text: str | bytes, answer: tuple[int, str] = INVALID) -> Bad:
    """Return an archive with a bad spec."""
    return Bad(name=f"spec: {name}", answer=answer, message=message, write=war(spec=text))


def setting(name: str, message: str, text: str) -> Bad:
    """Return an archive whose spec has a bad setting under `models`."""
    return spec(name, message, f"models:\n  {M1}\n  {text}\ndag: {{m1: []}}\n")


def dag(name: str, message: str, text: str, answer: tuple[int, str] = INVALID_DAG) -> Bad:
    """Return an archive whose spec has a bad graph over three models."""
    models = "".join(f"  m{number}: {{url: m1.mar}}\n" for number in (1, 2, 3))
    return spec(f"dag, {name}", message, f"models:\n{models}dag: {text}\n", answer)


def url(name: str, message: str, text: str, answer: tuple[int, str] = NOT_FOUND) -> Bad:
    """Return a bad url."""
    return Bad(name=f"url: {name}", answer=answer, message=message, request={"params": {"url": text}})


def workflow_name(name: str, shown: str) -> Bad:
    """Return a bad name for a good archive."""
    message = f"Workflow name {shown} is not allowed, {NAME_FORM}"
    request = {"json": {"url": "bad.war", "workflow_name": name}}
    return Bad(name=f"name: {shown}", answer=BAD_REQUEST, message=message, request=request)


def body(name: str, message: str, text: str | bytes) -> Bad:
    """Return a bad JSON body."""
    request = {"data": text, "headers": JSON}
    return Bad(name=f"body: {name}", answer=BAD_REQUEST, message=message, request=request)


def parameters(message: str, **given: str) -> Bad:
    """Return a query with a bad parameter."""
    request = {"params": {"url": "bad.war", **given}}
    return Bad(name=f"query: {given}", answer=BAD_REQUEST, message=message, request=request)


ZIPS = [
    zipped("text", "it is not a zip file", content(b"no zip")),
    zipped("empty", "the file is empty", content(b"")),
    zipped("truncated", "it is cut off", cut(lambda size: size // 2)),
    zipped("truncated at the end", "it is cut off", cut(lambda size: size - 3)),
    zipped("encrypted", "'spec.yaml' is encrypted", changed(bad_zips.encrypt)),
    zipped("leaves the folder", "the name '../x.py' leads out of the folder", war(extra_files={"../x.py": "x"})),
    zipped("absolute path", "the name '/tmp/x.py' is an absolute path", war(extra_files={"/tmp/x.py": "x"})),  # noqa: S108
    zipped("backslash", "the name 'a\\\\b.py' has a backslash", war(extra_files={"a\\b.py": "x"})),
    zipped("drive letter", "the name 'C:x.py' has a drive letter", war(extra_files={"C:x.py": "x"})),
    zipped("NUL in a name", "the name 'notes\\x00txt' has control characters", patched(b"notes.txt", b"notes\0txt")),
    zipped("link", "'link' is a link or special file", changed(bad_zips.add_link)),
    zipped("duplicate", "'spec.yaml' is in it twice", patched(b"notes.txt", b"spec.yaml")),
    zipped("too many", "it has more than 50 members", changed(bad_zips.add_many)),
    zipped("too large", "it unpacks to more than 20971520 bytes, 'large.bin' passed", changed(bad_zips.add_large)),
    zipped("bomb", "it unpacks to more than 200 times its size, 'bomb.bin' passed", changed(bad_zips.add_bomb)),
    zipped("overlap", "'spec.yaml' and 'handler.py' overlap", changed(bad_zips.overlap)),
    zipped("lie about a size", "'notes.txt' is damaged", changed(bad_zips.understate)),
    zipped("damaged", "'notes.txt' is damaged", patched(b"notes.txtnotes", b"notes.txtNOTES")),
    zipped("name not UTF-8", "the table of contents is damaged: 'utf-8' codec", bad_zips.misname),
    zipped("packed by bzip2", "'x.bin' is packed by method 12", changed(bad_zips.pack_by_bzip2)),
]

MANIFESTS = [
    zipped("no manifest", "WAR-INF/MANIFEST.json is missing", patched(b"WAR-INF/MANIFEST", b"WAR-INF/manifest")),
    manifest("not JSON", f"{MANIFEST} is not JSON: ", text="{"),
    manifest("empty", f"{MANIFEST} is not JSON: ", text=b" "),
    manifest("not UTF-8", f"{MANIFEST} is not UTF-8 text, byte 0 ", text=b"\xff{}"),
    manifest("array", f"{MANIFEST}: expected an object, got an array", text="[]"),
    manifest("too long", f"Workflow archive bad.war: '{MANIFEST[26:]}' is longer than 65536", text=b" " * 65537),
    manifest("nested deeply", f"{MANIFEST} is nested too deeply", text="[" * 60_000),
    manifest("no workflow", f"{MANIFEST}: workflow: expected an object, got nothing", workflow=None),
    manifest("no name", "Workflow name is not defined.", workflow={"specFile": "spec.yaml", "handler": "handler.py"}),
    manifest("no date", "Workflow archive createdOn is not defined.", createdOn=None),
    manifest("no version", "Workflow archive version is not defined.", archiverVersion=None),
    manifest("no spec", f"{MANIFEST}: workflow.specFile is not defined", workflow={"workflowName": "bad"}),
    manifest(
        "spec outside of the archive",
        f"{MANIFEST}: workflow.specFile: there is no file '../spec.yaml' in the archive; it has 'spec.yaml'",
        workflow={"workflowName": "bad", "specFile": "../spec.yaml"},
    ),
    manifest(
        "handler outside of the archive",
        f"{MANIFEST}: workflow.handler: there is no file '/etc/handler.py' in the archive; it has 'handler.py'",
        workflow={"workflowName": "bad", "specFile": "spec.yaml", "handler": "/etc/handler.py"},
    ),
    manifest(
        "handler that is no text",
        f"{MANIFEST}: workflow.handler: expected text, got a number",
        workflow={"workflowName": "bad", "specFile": "spec.yaml", "handler": 1},
    ),
    Bad(
        name="manifest: name that is not allowed",
        answer=BAD_REQUEST,
        message=f"Workflow name 'a/b' is not allowed, {NAME_FORM}",
        write=war(manifest={"workflow": {"workflowName": "a/b", "specFile": "spec.yaml", "handler": "handler.py"}}),
    ),
    zipped("no spec file", "WAR-INF/MANIFEST.json: workflow.specFile: there is no file 'spec.yaml'", war(spec=None)),
    zipped("handler not UTF-8", "'handler.py' is not UTF-8 text, byte 2 is", war(handler=b"# \xff")),
    zipped("handler too long", "'handler.py' is longer than 524288 bytes", war(handler=b"#" * 524_289)),
    Bad(
        name="handler: no Python",
        answer=INVALID,
        message="Handler handler.py: line 2: ",
        write=war(handler="\ndef pre_processing(:\n"),
    ),
    Bad(
        name="handler: function missing",
        answer=INVALID,
        message="dag: pre_processing is neither under models nor a function of the handler file handler.py",
        write=war(handler="def post_processing(data, context): ...\n"),
    ),
    Bad(
        name="handler: no file at all",
        answer=INVALID,
        message="dag: pre_processing is not under models, so it has to be a function, but the archive has no handler",
        write=war(handler=None),
    ),
]

SPECS = [
    spec("not UTF-8", "Workflow archive bad.war: 'spec.yaml' is not UTF-8 text, byte 0 is", b"\xff"),
    spec("too long", "Workflow archive bad.war: 'spec.yaml' is longer than 262144 bytes", "#" * 262_145),
    spec("tab", "Failed to parse yaml. line 2, column 1: ", "dag:\n\tm1: []\n"),
    spec("unclosed", "Failed to parse yaml. line 2, column 1: ", "dag: {m1: [\n"),
    spec("empty", "spec: expected a mapping with the keys models and dag, got null", ""),
    spec("list", "spec: expected a mapping with the keys models and dag, got a list", "- m1\n"),
    spec("two documents", "Failed to parse yaml. line 2, column 1: only one document", "dag: {}\n---\ndag: {}\n"),
    spec("tag", "Failed to parse yaml. line 1, column 6: tags are not allowed", "dag: !!python/name:os.system x\n"),
    spec("duplicate key", "Failed to parse yaml. line 2, column 1: duplicate key 'dag'", "dag: {}\ndag: {}\n"),
    spec("nested deeply", "Failed to parse yaml. line 1, column 25: lists and mappings", "dag: " + "[" * 40),
    spec(
        "alias bomb",
        "Failed to parse yaml. line 5, column 25: there are more than 50000 values, aliases expanded",
        "".join(f"k{n}: &a{n} [{', '.join([f'*a{n - 1}' if n else 'x'] * 10)}]\n" for n in range(9)),
    ),
    spec("unknown key", "spec: unknown key model, did you mean models?", f"model:\n  {M1}\ndag: {{m1: []}}\n"),
    spec("no dag", "dag: expected a mapping of names to lists of names, but there is no key dag", f"models: {{{M1}}}"),
    spec("models are a list", "models: expected a mapping of settings and models, got a list", "models: []\ndag: {}\n"),
    spec("no models", "dag: m1 is neither under models nor a function of the handler", "dag: {m1: []}\n"),
    setting("unknown global key", "models: unknown key max-worker, did you mean max-workers?", "max-worker: 4"),
    setting(
        "workers are text", "models.min-workers: expected a whole number from 0 to 1000, got 'x'", "min-workers: x"
    ),
    setting("workers are a fraction", "models.max-workers: expected a whole number from 1 ", "max-workers: 1.5"),
    setting("workers are a boolean", "models.min-workers: expected a whole number ", "min-workers: yes"),
    setting("workers are null", "models.max-workers: expected a whole number from 1 to 1000, got null", "max-workers:"),
    setting("negative workers", "models.m2.min-workers: expected a whole", "m2: {url: m1.mar, min-workers: -1}"),
    setting("no workers", "models.max-workers: expected a whole number from 1 to 1000, got 0", "max-workers: 0"),
    setting(
        "max less than min",
        "models.m2.max-workers: expected at least min-workers, which is 3, got 2",
        "m2: {url: m1.mar, min-workers: 3, max-workers: 2}",
    ),
    setting("zero batch", "models.batch-size: expected a whole number from 1 to 2147483647, got 0", "batch-size: 0"),
    setting("negative delay", "models.max-batch-delay: expected a whole number from 0", "max-batch-delay: -1"),
    setting("negative retries", "models.retry-attempts: expected a whole number from 0", "retry-attempts: -1"),
    setting("no time", "models.timeout-ms: expected a whole number from 1", "timeout-ms: 0"),
    setting("model without url", "models.m2.url: expected the name or http(s) address of a .mar", "m2: {}"),
    setting("model is null", "models.m2: expected a mapping with the url and settings of a model, got null", "m2:"),
    setting("url is a number", "models.m2.url: expected the name or http(s) address of a .mar, got 1", "m2: {url: 1}"),
    setting("bad node name", "models: expected a name of the form \\w", "m/2: {url: m1.mar}"),
]

DAGS = [
    dag("list", "dag: expected a mapping of names to lists of names, got a list", "[m1]", INVALID),
    dag("null", "dag: expected a mapping of names to lists of names, got null", "", INVALID),
    dag("target is no list", "dag.m1: expected a list of names, got 'm2'", "{m1: m2}", INVALID),
    dag("target is a number", "dag.m1[0]: expected a name, got 2; put it in quotes if it is one", "{m1: [2]}", INVALID),
    dag("unknown name", "dag: m4 is neither under models nor a function of the handler file", "{m1: [m4]}", INVALID),
    dag("empty", "Not a valid DAG: it has no nodes", "{}"),
    dag("several starts", "DAG should have only one start node: m1, m2", "{m1: [m3], m2: [m3]}"),
    dag("no start", "DAG should have only one start node: there is none, because", "{m1: [m2], m2: [m1]}"),
    dag("self loop", "Self loop exception: m2", "{m1: [m2], m2: [m2]}"),
    dag("cycle", "Not a valid DAG: cycle m2 -> m3 -> m2", "{m1: [m2], m2: [m3], m3: [m2]}"),
    dag("duplicate edge", "Duplicate edge: m1 -> m2", "{m1: [m2, m2]}"),
    dag("too many nodes", "Not a valid DAG: it has 1001 nodes", f"{{f: [{', '.join(f'f{n}' for n in range(1000))}]}}"),
]

URLS = [
    Bad(name="url: none", answer=BAD_REQUEST, message="Parameter url is required.", request={}),
    url("empty", "Parameter url is required.", "", BAD_REQUEST),
    url("blank", "Parameter url is required.", " \t", BAD_REQUEST),
    url("not in the store", "Workflow not found in workflow store: nosuch.war", "nosuch.war"),
    url("not in the store, other ending", "Workflow not found in workflow store: nosuch.zip", "nosuch.zip"),
    url("subfolder", "Workflow not found in workflow store: sub/good.war", "sub/good.war"),
    Bad(
        name="url: very long",
        answer=BAD_REQUEST,
        message="The url has 60000 bytes, and names of archives have 255 at most.",
        request={"json": {"url": "a" * 60_000}},
    ),
    url("folder", "Workflow not found in workflow store: folder.war", "folder.war"),
    url("hidden file", "Workflow not found in workflow store: .hidden.war", ".hidden.war"),
    url("dot", "Workflow not found in workflow store: ./bad.war", "./bad.war"),
    url("two dots", "Relative path is not allowed in url: ../x.war", "../x.war"),
    url("two dots inside", "Relative path is not allowed in url: sub/../bad.war", "sub/../bad.war"),
    url("encoded dots", "Workflow not found in workflow store: %2e%2e/x.war", "%2e%2e/x.war"),
    url("absolute path", "Workflow not found in workflow store: /etc/passwd", "/etc/passwd"),
    url("backslash", "Workflow not found in workflow store: sub\\good.war", "sub\\good.war"),
    url("two dots and a backslash", "Relative path is not allowed in url: ..\\x.war", "..\\x.war"),
    url("NUL", "The url contains the control character U+0000.", "bad.war\0", BAD_REQUEST),
    url("newline inside", "The url contains the control character U+000A.", "bad\n.war", BAD_REQUEST),
    url("other ending", "The url notes.txt has to end in .war.", "notes.txt", BAD_REQUEST),
    url("ftp", "Workflow not found in workflow store: ftp://models.example/x.war", "ftp://models.example/x.war"),
    url("s3", "Workflow not found in workflow store: s3://bucket/x.war", "s3://bucket/x.war"),
    url("file", "Given URL file:///etc/passwd does not match any allowed URL(s); ", "file:///etc/passwd"),
    url(
        "credentials",
        "Workflow not found in workflow store: ftp://models.example/x.war",
        "ftp://u:p@models.example/x.war",
    ),
    url("http without a host", "The url has no valid host", "http:///x.war", BAD_REQUEST),
    url(
        "http with two dots",
        "Relative path is not allowed in url: http://models.example/../x.war",
        "http://models.example/../x.war",
    ),
    url(
        "bad port",
        "Failed to download archive from: http://models.example:0/x.war: the port",
        "http://models.example:0/x.war",
        (400, "DownloadArchiveException"),
    ),
]

NAMES = [
    workflow_name("..", "'..'"),
    workflow_name("a/b", "'a/b'"),
    workflow_name("<b>", "'<b>'"),
    workflow_name(" ", "' '"),
    workflow_name("a\nb", "'a\\nb'"),
    workflow_name("-a", "'-a'"),
    workflow_name("ä", "'ä'"),
    workflow_name("a\0", "'a\\x00'"),
    workflow_name("\ud800", "'\\ud800'"),
    workflow_name("a" * 129, f"'{'a' * 63}…'"),
]

REQUESTS = [
    body("not JSON", "The body is not valid JSON: line 1, column 9: ", '{"url": }'),
    body("array", "The body has to be a JSON object, got ['bad.war'].", '["bad.war"]'),
    body("null", "The body has to be a JSON object, got None.", "null"),
    body("text", "The body has to be a JSON object, got 'bad.war'.", '"bad.war"'),
    body("not UTF-8", "The body is not UTF-8: byte 1 cannot be read.", b'"\xff"'),
    body("nested deeply", "The body is not valid JSON: it is nested too deeply", "[" * 30_000),
    body("huge number", "The body is not valid JSON: it is nested too deeply or holds a number", "1" * 5000),
    body("empty object", "Parameter url is required.", "{}"),
    body("url is null", "Parameter url is required.", '{"url": null}'),
    body("url is a number", "Parameter url: expected text, got 1.", '{"url": 1}'),
    body("url is false", "Parameter url: expected text, got False.", '{"url": false}'),
    body("url is a list", "Parameter url: expected text, got [].", '{"url": []}'),
    body("name is zero", "Parameter workflow_name: expected text, got 0.", '{"url": "bad.war", "workflow_name": 0}'),
    body("unknown parameter", "Unknown parameter 'workflow', did you mean", '{"url": "bad.war", "workflow": "x"}'),
    body("timeout is a boolean", "Parameter startup_timeout: expected", '{"url": "bad.war", "startup_timeout": true}'),
    body("timeout is a fraction", "Parameter response_timeout: expected", '{"url": "x", "response_timeout": 1.5}'),
    body("half of a surrogate pair", "The url contains half of a surrogate pair", '{"url": "\\ud800.war"}'),
    parameters("Unknown parameter 'workflowname', did you mean workflow_name?", workflowname="x"),
    parameters("Unknown parameter 'x', known are url, workflow_name, response_timeout, ", x="1"),
    parameters(
        "Parameter response_timeout: expected a whole number from 1 to 86400, got 'abc'.", response_timeout="abc"
    ),
    parameters("Parameter startup_timeout: expected a whole number from 1 to 86400, got '0'.", startup_timeout="0"),
    parameters("Parameter startup_timeout: expected a whole number from 1 to 86400, got '-5'.", startup_timeout="-5"),
    parameters("Parameter synchronous: expected true or false, got 'later'.", synchronous="later"),
    parameters("Parameter s3_sse_kms: only false is supported, got 'true'.", s3_sse_kms="true"),
]

TABLE = [*ZIPS, *MANIFESTS, *SPECS, *DAGS, *URLS, *NAMES, *REQUESTS]


@pytest.fixture(scope="module", autouse=True)
def _decoys(service: Service) -> Iterator[None]:
    """Add files that a careless service would take for archives, and a good workflow that runs all the while."""
    (service.workflow_store / "sub").mkdir()
    (service.workflow_store / "folder.war").mkdir()
    made = [
        make_war(service.workflow_store / "sub", name="good"),
        make_war(service.workflow_store, file_name=".hidden.war"),
        make_war(service.instance, name="x"),
        make_war(service.workflow_store, name="resident"),
        make_mar(service.model_store),
        service.workflow_store / "notes.txt",
    ]
    made[-1].write_text("notes")
    assert service.register("resident.war").status_code == 200
    yield
    assert service.unregister("resident").status_code == 200
    for path in made:
        path.unlink()
    (service.workflow_store / "sub").rmdir()
    (service.workflow_store / "folder.war").rmdir()


@pytest.mark.parametrize("bad", TABLE, ids=lambda bad: bad.name)
def test_bad_input_is_refused_with_a_clear_message_and_leaves_nothing(service: Service, bad: Bad) -> None:
    """The message names the thing, the place and what would be right; only one audit row tells of the attempt."""
    archive = bad.write(service.workflow_store)
    try:
        with nothing_left(service):
            answer = requests.post(f"{service.management}/workflows", timeout=20, **bad.request)
        assert_error(answer, *bad.answer, bad.message)
        assert_failure_is_audited(service, answer)
    finally:
        archive.unlink()
    assert "unforeseen error" not in service.text_of_log()


def test_absolute_path_into_the_store_is_refused(service: Service) -> None:
    """A path is no name of an archive, even if it leads to one."""
    path = str(service.workflow_store / "resident.war")
    with nothing_left(service):
        answer = service.register(path, workflow_name="other")
    assert answer.status_code == 404
    assert answer.json()["message"] == f"Workflow not found in workflow store: {path}"


def test_percent_encoded_dots_are_refused_when_the_server_decodes_them(service: Service) -> None:
    """In a query `%2e%2e` means two dots, and is refused like them."""
    with nothing_left(service):
        answer = requests.post(f"{service.management}/workflows?url=%2e%2e/x.war", timeout=10)
    assert_error(answer, *NOT_FOUND, "Relative path is not allowed in url: ../x.war")


@pytest.mark.parametrize("field_name", ["", "resident.war"], ids=["file", "file named like an archive"])
def test_upload_is_refused_when_the_body_carries_a_file(service: Service, field_name: str, tmp_path: Path) -> None:
    """Under another name than archive or model, which the message says."""
    archive = make_war(tmp_path)
    with nothing_left(service), archive.open("rb") as file:
        answer = requests.post(
            f"{service.management}/workflows", files={field_name or "url": ("seq.war", file)}, timeout=10
        )
    assert_error(
        answer, *BAD_REQUEST, f"Part {field_name or 'url'!r} with the file 'seq.war': expected the name archive"
    )
    assert_failure_is_audited(service, answer)


def test_taken_name_is_refused_before_anything_is_loaded(service: Service) -> None:
    """The name of a registered workflow is taken, whichever archive asks for it; the workflow goes on."""
    archive = make_war(service.workflow_store, name="other")
    with nothing_left(service):
        answer = service.register("other.war", workflow_name="resident")
        again = service.register("resident.war")
    archive.unlink()
    for each in (answer, again):
        assert_error(each, 409, "ConflictStatusException", "Workflow resident is already registered.", more=("hint",))
        assert_failure_is_audited(service, each, "resident")


@pytest.mark.parametrize("bad", ZIPS, ids=lambda bad: bad.name)
def test_model_archive_that_must_not_be_unpacked_is_refused(service: Service, bad: Bad, tmp_path: Path) -> None:
    """What is wrong with a file as a zip archive is wrong with that of a model, too."""
    archive = bad.write(tmp_path).rename(service.model_store / "bad.mar")
    spec = "models: {m: {url: bad.mar}}\ndag: {m: []}\n"
    workflow = make_war(service.workflow_store, name="w", spec=spec, handler=None)
    with nothing_left(service):
        answer = service.register("w.war")
    archive.unlink()
    workflow.unlink()
    details = "Workflow Node w__m failed to register. Details: bad.mar: "
    assert_error(answer, 400, "WorkflowException", f"Workflow w has failed to register. Failures: [{details}")
    assert_failure_is_audited(service, answer, "w")
