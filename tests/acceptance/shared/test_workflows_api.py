"""The workflow API, row by row as TorchServe 0.12.0 answers it or as wfmgmt differs."""

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from tests.support.evidence import (
    assert_error,
    assert_failure_is_audited,
    assert_json,
    audit_of,
    described_with_workers,
    nothing_left,
    query,
    ready_workers,
    traces_of,
)
from tests.support.factories import make_mar, make_war
from tests.support.service import Service
from wfmgmt.host import available_cores

REGISTERED = '{{\n  "status": "Workflow {} has been registered and scaled successfully."\n}}\n'
#: What is measured of a node; `test_described_workers.py` has more of it.
MEASURED = ("workers", "requests", "failures", "queued", "p50Ms", "p99Ms")
FUNCTION_SPEC = "dag: {pre_processing: []}\n"
PARALLEL_SPEC = """\
models:
  m1: {url: m1.mar, batch-size: 7, timeout-ms: 900}
  min-workers: 1
  max-workers: 2
  batch-size: 3
  max-batch-delay: 100
  retry-attempts: 4
  m2: {url: m1.mar, min-workers: 2}
dag:
  pre_processing: [m1, m2]
  m1: [aggregate]
  m2: [aggregate]
x-wfmgmt:
  nodes:
    m1: {threads: 3}
"""
PARALLEL_HANDLER = "def pre_processing(data, context): ...\n\n\ndef aggregate(data, context): ...\n"
#: TorchServe's answer to a description of this workflow, but for the end of the object.
PARALLEL_DESCRIBED = """\
[
  {
    "workflowName": "par",
    "workflowUrl": "par.war",
    "minWorkers": 1,
    "maxWorkers": 2,
    "batchSize": 3,
    "maxBatchDelay": 100,
    "workflowDag": "{pre_processing=[m1, m2], m1=[aggregate], m2=[aggregate]}",
    "nodes": [
"""
#: In name order, which is that of code points.
LISTED = ["P3", "a-1", "a.1", "a_1", "p10"]


@pytest.fixture(autouse=True)
def _archives(service: Service) -> Iterator[None]:
    """Put the archives of these tests into the stores; afterwards everything is as it was before."""
    with nothing_left(service):
        made = [
            make_war(service.workflow_store),
            make_war(service.workflow_store, name="par", spec=PARALLEL_SPEC, handler=PARALLEL_HANDLER),
            make_war(service.workflow_store, name="f", spec=FUNCTION_SPEC),
            make_mar(service.model_store),
        ]
        yield
        for name in service.names():
            assert service.unregister(name).status_code == 200
        for path in made:
            path.unlink(missing_ok=True)


@pytest.fixture(name="listed")
def _listed(service: Service) -> list[str]:
    """Register some workflows, in another order than that of their names."""
    for name in reversed(LISTED):
        assert service.register("f.war", workflow_name=name).status_code == 200
    return LISTED


def post(service: Service, **request: Any) -> requests.Response:
    """Send a registration."""
    return requests.post(f"{service.management}/workflows", timeout=30, **request)


def listing(service: Service, path: str = "/workflows", **parameters: Any) -> requests.Response:
    """Ask for a list."""
    return requests.get(f"{service.management}{path}", params=parameters, timeout=10)


def names_in(answer: requests.Response) -> list[str]:
    """Return the names in a page."""
    return [each["workflowName"] for each in assert_json(answer)["workflows"]]


@pytest.mark.parametrize(
    ("request_parts", "name"),
    [
        ({"params": {"url": "seq.war"}}, "seq"),
        ({"json": {"url": "seq.war"}}, "seq"),
        ({"json": {"url": "seq.war", "workflow_name": None, "response_timeout": "9"}}, "seq"),
        ({"data": '{"url": "seq.war"}', "headers": {"Content-Type": "application/json; charset=utf-8"}}, "seq"),
        ({"data": {"url": "seq.war", "workflow_name": "other"}}, "other"),
        ({"files": {"url": (None, "seq.war"), "workflow_name": (None, "other")}}, "other"),
        ({"params": {"url": "seq.war", "workflow_name": ""}}, "seq"),
        ({"params": {"url": " seq.war "}}, "seq"),
        ({"params": {"url": ["seq.war", "nosuch.war"], "workflow_name": ["first", "second"]}}, "first"),
        ({"params": {"url": "nosuch.war", "workflow_name": "query"}, "json": {"url": "seq.war"}}, "query"),
        (
            {"params": {"url": "nosuch.war", "workflow_name": "q"}, "data": {"url": "seq.war", "workflow_name": "b"}},
            "b",
        ),
        ({"params": {"url": "seq.war", "synchronous": "true", "s3_sse_kms": "false"}}, "seq"),
        ({"json": {"url": "seq.war", "synchronous": True, "s3_sse_kms": False}}, "seq"),
        ({"params": {"url": "seq.war", "workflow_name": "A" + "z" * 127}}, "A" + "z" * 127),
    ],
    ids=[
        "query",
        "JSON",
        "JSON with null and a number as text",
        "JSON with a charset",
        "form",
        "multipart form",
        "empty name",
        "url in blanks",
        "the first of two values wins",
        "JSON wins over the query",
        "a form wins over the query",
        "TorchServe's switches",
        "TorchServe's switches in JSON",
        "longest name",
    ],
)
def test_register_takes_its_parameters_in_any_usual_way(
    service: Service, request_parts: dict[str, Any], name: str
) -> None:
    """Each way leads to the same answer, to running workers, and to one audit row."""
    answer = post(service, **request_parts)
    assert (answer.status_code, answer.text) == (200, REGISTERED.format(name))
    assert_json(answer)
    assert ready_workers(service, name) == {"pre_processing": 1, "m1": 1, "post_processing": 1}
    (row,) = audit_of(service, answer)
    assert (row["action"], row["outcome"], row["workflow"]) == ("register", "succeeded", name)
    digest = hashlib.sha256((service.workflow_store / "seq.war").read_bytes()).hexdigest()
    assert row["detail"]["archive_sha256"] == digest


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, (120, 120)),
        ({"response_timeout": 7, "startup_timeout": 8}, (7, 8)),
        ({"response_timeout": "7", "startup_timeout": "86400"}, (7, 86_400)),
        ({"response_timeout": "", "startup_timeout": 1}, (120, 1)),
    ],
    ids=["defaults", "numbers", "text", "empty"],
)
def test_register_keeps_the_timeouts(service: Service, parameters: dict[str, Any], expected: tuple[int, int]) -> None:
    """Both are seconds, 120 unless given."""
    assert post(service, json={"url": "f.war", **parameters}).status_code == 200
    (row,) = query(service, "SELECT response_timeout_s, startup_timeout_s FROM v_workflow WHERE name = 'f'")
    assert (row["response_timeout_s"], row["startup_timeout_s"]) == expected


def test_register_takes_one_archive_under_several_names(service: Service) -> None:
    """The name of a workflow is unique, its archive is not."""
    for name in ("one", "two"):
        assert service.register("seq.war", workflow_name=name).text == REGISTERED.format(name)
    assert service.names() == ["one", "two"]
    assert len(set(service.worker_pids())) == 7, "the forkserver, and workers of a model and two functions for each"


def test_register_refuses_a_name_that_is_taken(service: Service) -> None:
    """The second registration is a conflict, and the first goes on."""
    assert service.register("f.war").status_code == 200
    before = traces_of(service)
    again = service.register("f.war")
    assert_error(again, 409, "ConflictStatusException", "Workflow f is already registered.", more=("hint",))
    assert_failure_is_audited(service, again, "f")
    assert traces_of(service) == before


def test_register_takes_the_name_from_the_manifest_as_both_archivers_write_it(service: Service) -> None:
    """`workflowName` counts, else `modelName`; with neither, the request may give the name."""
    files = {"specFile": "spec.yaml", "handler": "handler.py"}
    for name, parts in {"w": {"workflowName": "w", "modelName": "m"}, "m": {"modelName": "m"}}.items():
        make_war(service.workflow_store, name="f", spec=FUNCTION_SPEC, manifest={"workflow": {**files, **parts}})
        assert service.register("f.war").text == REGISTERED.format(name)
    make_war(service.workflow_store, name="f", spec=FUNCTION_SPEC, manifest={"workflow": files})
    assert service.register("f.war", workflow_name="given").text == REGISTERED.format("given")


def test_register_warns_about_what_has_no_effect(service: Service) -> None:
    """Unknown keys of a model and models outside of the graph are most likely mistakes, but do no harm."""
    spec = "models: {m1: {url: m1.mar, max-worker: 4, x: 1}, m2: {url: nosuch.mar}}\ndag: {m1: []}\n"
    make_war(service.workflow_store, name="f", spec=spec, handler=None)
    answer = assert_json(service.register("f.war"))
    assert list(answer) == ["status", "warnings"]
    assert answer["warnings"] == [
        "models.m1: unknown key max-worker, did you mean max-workers?",
        "models.m1: unknown key x",
        "models.m2: not used in the dag, so it is not loaded",
    ]


def test_describe_answers_as_torchserve_and_adds_its_own_fields_after(service: Service) -> None:
    """The first part is TorchServe's to the byte: the global values of the spec, and its graph in its order."""
    began = datetime.now(UTC)
    assert service.register("par.war").status_code == 200
    answer = requests.get(f"{service.management}/workflows/par", timeout=10)
    assert answer.text.startswith(PARALLEL_DESCRIBED)
    (described,) = assert_json(answer)
    assert list(described)[7:10] == ["nodes", "registeredAt", "archiveSha256"]
    assert list(described)[10:] == [*("version", "default", "revision", "release", "routes", "state"), "storeFile"]
    archive = service.workflow_store / "par.war"
    assert described["archiveSha256"] == hashlib.sha256(archive.read_bytes()).hexdigest()
    registered_at = datetime.fromisoformat(described["registeredAt"])
    assert began - timedelta(milliseconds=1) <= registered_at <= datetime.now(UTC)
    assert described["registeredAt"].endswith("Z")


def test_describe_shows_what_each_node_runs_with(service: Service) -> None:
    """Nodes come in the order of the graph; a model's own settings win over global ones, before or after them."""
    assert service.register("par.war").status_code == 200
    nodes = described_with_workers(service, "par")["nodes"]
    digest = hashlib.sha256((service.model_store / "m1.mar").read_bytes()).hexdigest()
    function = {"kind": "function", "url": None, "digest": None, "minWorkers": 1, "maxWorkers": 1, "batchSize": 1}
    model = {"kind": "model", "url": "m1.mar", "digest": digest, "minWorkers": 1, "maxWorkers": 2, "batchSize": 7}
    expected: list[dict[str, Any]] = [
        {"name": "pre_processing", **function, "maxBatchDelay": 0, "timeoutMs": 10_000},
        {"name": "m1", **model, "maxBatchDelay": 100, "timeoutMs": 900},
        {"name": "m2", **model, "minWorkers": 2, "batchSize": 3, "maxBatchDelay": 100, "timeoutMs": 10_000},
        {"name": "aggregate", **function, "maxBatchDelay": 0, "timeoutMs": 10_000},
    ]
    assert [list(node) for node in nodes] == [
        [
            *("name", "kind", "url", "digest", "minWorkers", "maxWorkers", "batchSize", "maxBatchDelay"),
            *("retryAttempts", "timeoutMs", "readyWorkers", "error", "overridden", "threads", *MEASURED),
            "storeFile",
        ]
    ] * 4
    running = {"m1": {"threads": 3}, "m2": {"readyWorkers": 2}}
    for node, settings in zip(nodes, expected, strict=True):
        assert {name: value for name, value in node.items() if name not in MEASURED} == {
            **settings,
            "retryAttempts": 4,
            "threads": max(available_cores() // settings["maxWorkers"], 1),
            "readyWorkers": 1,
            "error": None,
            "overridden": [],
            "storeFile": "same" if settings["kind"] == "model" else None,
            **running.get(node["name"], {}),
        }


def test_describe_prints_a_leaf_without_targets_as_torchserve(service: Service) -> None:
    """An empty list is `[]`, and a spec without settings shows the defaults."""
    assert service.register("f.war").status_code == 200
    described = service.describe("f")
    assert described["workflowDag"] == "{pre_processing=[]}"
    defaults = ("minWorkers", "maxWorkers", "batchSize", "maxBatchDelay")
    assert [described[key] for key in defaults] == [1, 1, 1, 50]


@pytest.mark.parametrize(
    ("path", "shown"),
    [("nosuch", "nosuch"), ("SEQ", "SEQ"), ("se%71", None), ("..%2Fseq", None), ("a%00b", "a\0b"), ("%ff", "\ufffd")],
    ids=["unknown", "other case", "encoded letter", "encoded slash", "NUL", "not UTF-8"],
)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_unknown_name_is_not_found(service: Service, method: str, path: str, shown: str | None) -> None:
    """The message repeats the name; names compare exactly, after percent-decoding."""
    assert service.register("f.war").status_code == 200
    answer = requests.request(method, f"{service.management}/workflows/{path}", timeout=10)
    if path == "..%2Fseq":
        assert_error(answer, 404, "ResourceNotFoundException", "Requested resource is not found, please refer to API")
    else:
        message = f"Workflow not found: {shown or 'seq'}"
        assert_error(answer, 404, "WorkflowNotFoundException", message)
        assert answer.json()["message"] == message


def test_list_of_nothing_is_an_empty_list(service: Service) -> None:
    """The very bytes that TorchServe sends, by offset and by name."""
    for parameters in ({}, {"next_page_token": 0}, {"after": ""}):
        assert listing(service, **parameters).content == b'{\n  "workflows": []\n}\n'


def test_list_is_in_name_order_with_name_and_url(service: Service, listed: list[str]) -> None:
    """Names are in the order of code points, and the page is written as all answers are."""
    expected = {"workflows": [{"workflowName": name, "workflowUrl": "f.war"} for name in listed]}
    assert listing(service).text == json.dumps(expected, indent=2) + "\n"


def test_list_gives_the_token_of_the_next_page_first(service: Service, listed: list[str]) -> None:
    """A page that is not the last one starts with the offset of the next one, as text."""
    expected = {
        "nextPageToken": "2",
        "workflows": [{"workflowName": name, "workflowUrl": "f.war"} for name in listed[:2]],
    }
    assert listing(service, limit=2).text == json.dumps(expected, indent=2) + "\n"


@pytest.mark.parametrize(
    ("parameters", "names", "token"),
    [
        ({"limit": 2, "next_page_token": 2}, LISTED[2:4], "4"),
        ({"limit": 2, "next_page_token": 4}, LISTED[4:], None),
        ({"limit": 5}, LISTED, None),
        ({"limit": 4, "next_page_token": 1}, LISTED[1:], None),
        ({"limit": 4}, LISTED[:4], "4"),
        ({"next_page_token": 5}, [], None),
        ({"next_page_token": 2**31 - 1}, [], None),
        ({"limit": "", "next_page_token": ""}, LISTED, None),
        ({"limit": 1000}, LISTED, None),
        ({"limit": ["1", "3"]}, LISTED[:1], "1"),
    ],
    ids=[
        "middle",
        "last",
        "all",
        "ends at the end",
        "all but one",
        "past the end",
        "far past the end",
        "empty values",
        "largest limit",
        "the first of two values wins",
    ],
)
def test_list_by_offset_gives_the_page_that_was_asked_for(
    service: Service, listed: list[str], parameters: dict[str, Any], names: list[str], token: str | None
) -> None:
    """There is a token exactly when there is more; a token past the end is no error."""
    answer = listing(service, **parameters)
    assert names_in(answer) == names
    assert answer.json().get("nextPageToken") == token


def test_list_by_name_loses_nothing_to_deletions(service: Service, listed: list[str]) -> None:
    """The name to go on from need not exist any more, and nothing that is left is skipped."""
    first = listing(service, after="", limit=2)
    assert names_in(first) == listed[:2]
    assert first.json()["nextAfter"] == listed[1]
    for name in listed[:2]:
        assert service.unregister(name).status_code == 200
    second = listing(service, after=listed[1], limit=2)
    assert names_in(second) == listed[2:4]
    last = listing(service, after=second.json()["nextAfter"], limit=2)
    assert (names_in(last), list(last.json())) == (listed[4:], ["workflows"])


@pytest.mark.parametrize(
    "query_string", ["", "?limit=2", "?limit=2&next_page_token=2", "?after=a-1&limit=1", "?limit=0"]
)
def test_models_gives_the_same_list(service: Service, listed: list[str], query_string: str) -> None:
    """The reference documentation has this path for the list of workflows."""
    answers = [
        requests.get(f"{service.management}{path}{query_string}", timeout=10) for path in ("/workflows", "/models")
    ]
    assert len({(answer.status_code, answer.text) for answer in answers}) == 1


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"limit": 0}, "Parameter limit: expected a whole number from 1 to 1000, got '0'."),
        ({"limit": -1}, "Parameter limit: expected a whole number from 1 to 1000, got '-1'."),
        ({"limit": 1001}, "Parameter limit: expected a whole number from 1 to 1000, got '1001'."),
        ({"limit": "ten"}, "Parameter limit: expected a whole number from 1 to 1000, got 'ten'."),
        ({"limit": "1.0"}, "Parameter limit: expected a whole number from 1 to 1000, got '1.0'."),
        ({"limit": "１"}, "Parameter limit: expected a whole number from 1 to 1000, got '１'."),  # noqa: RUF001 - a full-width digit
        ({"limit": "9" * 3000}, "Parameter limit: expected a whole number from 1 to 1000, got '999"),
        ({"next_page_token": -1}, "Parameter next_page_token: expected a whole number from 0 to 2147483647, got '-1'."),
        ({"next_page_token": "x"}, "Parameter next_page_token: expected a whole number from 0 to 2147483647, got 'x'."),
        ({"next_page_token": 2**31}, "Parameter next_page_token: expected a whole number from 0 to 2147483647, got '2"),
        ({"next_page_token": 1, "after": "a"}, "Parameters next_page_token and after: give one of them, not both."),
        ({"after": "a\0"}, "Parameter after: expected the name of a workflow."),
    ],
    ids=[
        "limit zero",
        "limit negative",
        "limit too large",
        "limit no number",
        "limit a fraction",
        "limit in foreign digits",
        "limit endless",
        "token negative",
        "token no number",
        "token too large",
        "token and name",
        "name with NUL",
    ],
)
def test_list_refuses_parameters_that_make_no_sense(service: Service, parameters: dict[str, Any], message: str) -> None:
    """The message names the parameter, what would be right and what was given."""
    assert_error(listing(service, **parameters), 400, "BadRequestException", message)


def test_unregister_takes_the_workflow_down(service: Service) -> None:
    """When it is answered the workers are gone, the name is free, the archives are there, and one audit row tells."""
    before = traces_of(service)
    assert service.register("seq.war").status_code == 200
    answer = service.unregister("seq")
    assert (answer.status_code, answer.text) == (200, '{\n  "status": "Workflow \\"seq\\" unregistered"\n}\n')
    assert traces_of(service) == before
    (row,) = audit_of(service, answer)
    assert (row["action"], row["outcome"], row["workflow"]) == ("unregister", "succeeded", "seq")
    again = service.unregister("seq")
    assert_error(again, 404, "WorkflowNotFoundException", "Workflow not found: seq")
    assert service.register("seq.war").status_code == 200


def test_unregister_works_when_the_archives_are_gone(service: Service) -> None:
    """What an operator removed by hand keeps nobody from removing the workflow."""
    assert service.register("seq.war").status_code == 200
    (service.workflow_store / "seq.war").unlink()
    (service.model_store / "m1.mar").unlink()
    assert service.unregister("seq").status_code == 200
    assert service.names() == []
