"""How the client sends requests: addresses, tokens, keys, repeated attempts, and errors."""

import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.fake_service import FakeService, Reply, Request, error, replies
from tests.support.operation_answers import ACCEPTED, OPERATION, SUCCEEDED
from tests.support.scripted_server import ScriptedServer, make_certificate
from wfmgmt.client import Client, ClientError, Refused, TimedOut, Unreachable, errors
from wfmgmt.client.errors import ConflictStatus, MalformedAnswer, NotReady

DONE = Reply(body={"status": "done"})
EMPTY = Reply(body={"workflows": []})
BUSY = error(409, "ConflictStatusException", "The same request is still being carried out.", Retry_After="0")
NODE = {
    "name": "m1",
    "kind": "model",
    "url": "m1.mar",
    "digest": "0" * 64,
    "minWorkers": 1,
    "maxWorkers": 2,
    "batchSize": 1,
    "maxBatchDelay": 50,
    "retryAttempts": 1,
    "timeoutMs": 1000,
    "threads": 2,
    "readyWorkers": 1,
    "error": None,
    "overridden": [],
    "workers": [],
    "requests": None,
    "failures": None,
    "queued": None,
    "p50Ms": None,
    "p99Ms": None,
    "storeFile": "same",
}
SEQ = {
    "workflowName": "seq",
    "workflowUrl": "seq.war",
    "minWorkers": 1,
    "maxWorkers": 1,
    "batchSize": 1,
    "maxBatchDelay": 50,
    "workflowDag": "{m1=[]}",
    "nodes": [NODE],
    "registeredAt": "2026-11-23T20:53:36.386429Z",
    "archiveSha256": "0" * 64,
    "version": "1.0",
    "default": True,
    "revision": 1,
    "release": 1,
    "routes": [{"version": "1.0", "weight": 100}],
    "state": "ready",
    "storeFile": "same",
}
RESULT = {"version": "1.0", "default": True, "revision": 1, "warnings": ["x"]}
STARTING = {**SEQ, "nodes": [{**NODE, "readyWorkers": 0}]}


def keys(service: FakeService) -> list[str | None]:
    """Return the keys of all requests that came."""
    return [request.headers.get("idempotency-key") for request in service.requests]


def test_write_is_sent_again_under_the_same_key() -> None:
    """When its connection is lost, and until the first attempt, which goes on in the service, is done."""
    with FakeService(replies(None, BUSY, BUSY, DONE)) as service, Client(service.url) as client:
        assert client.unregister("seq").status == "done"
    assert len(keys(service)) == 4
    assert len(set(keys(service))) == 1
    assert None not in keys(service)


def test_each_write_has_a_key_of_its_own() -> None:
    """Two calls are two changes."""
    with FakeService(lambda _: DONE) as service, Client(service.url) as client:
        client.unregister("seq")
        client.unregister("seq")
    first, second = keys(service)
    assert first != second


def test_conflict_is_no_reason_to_repeat_a_write() -> None:
    """Only one whose connection was lost can be in its own way."""
    with FakeService(replies(BUSY)) as service, Client(service.url) as client, pytest.raises(errors.ConflictStatus):
        client.unregister("seq")
    assert len(service.requests) == 1


def test_reading_request_is_sent_again_without_a_key() -> None:
    """It changes nothing."""
    with FakeService(replies(None, None, EMPTY)) as service, Client(service.url) as client:
        assert list(client.list()) == []
    assert keys(service) == [None] * 3


def test_prediction_is_sent_once() -> None:
    """Handlers may do something that must not happen twice."""
    with (
        FakeService(replies(None)) as service,
        Client(service.url, inference_url=service.url) as client,
        pytest.raises(Unreachable),
    ):
        client.predict("seq", b"x")
    assert len(service.requests) == 1


def test_prediction_needs_the_inference_address() -> None:
    """The management address does not say where it is."""
    with Client("http://127.0.0.1:1") as client, pytest.raises(ValueError, match="inference address"):
        client.predict("seq")


def test_service_that_is_not_there_is_unreachable() -> None:
    """The error has the address and what the system said."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with Client(f"http://127.0.0.1:{port}") as client, pytest.raises(Unreachable, match=rf":{port}/.*refused"):
        client.ping()


def test_answer_that_does_not_come_is_timed_out() -> None:
    """It is not sent again: the time is over."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with Client(url, timeout_s=0.2) as client, pytest.raises(TimedOut):
            client.ping()


def test_repeated_attempts_end_with_the_time() -> None:
    """However often the service says that it is not done yet."""
    waiting = error(409, "ConflictStatusException", "Still being carried out.", Retry_After="1")
    attempts = replies(None, *[waiting] * 100)
    with FakeService(attempts) as service, Client(service.url, timeout_s=0.5) as client, pytest.raises(TimedOut):
        client.unregister("seq")


@pytest.mark.parametrize(
    ("reply", "kind", "message"),
    [
        (error(404, "WorkflowNotFoundException", "Workflow not found: x"), errors.WorkflowNotFound, "not found: x"),
        (error(418, "TeapotException", "short and stout"), Refused, "short and stout"),
        (Reply(status=502, body=b"<html>bad</html>"), Refused, "502 Bad Gateway: <html>bad</html>"),
        (Reply(status=302, body=b"", headers={"Location": "/elsewhere"}), Refused, "302 Found"),
        (Reply(body=b"<html>welcome</html>"), MalformedAnswer, "not of this service"),
        (Reply(body=[]), MalformedAnswer, "not of this service"),
    ],
    ids=["own", "unknown type", "proxy", "redirect", "other server", "other shape"],
)
def test_errors_have_a_class(reply: Reply, kind: type[ClientError], message: str) -> None:
    """One for each type, the base class for others, and one for what is no answer of the service at all."""
    with FakeService(replies(reply)) as service, Client(service.url) as client, pytest.raises(ClientError) as caught:
        client.describe("x")
    assert type(caught.value) is kind
    assert message in str(caught.value)


def test_refusal_has_what_the_answer_had() -> None:
    """Status, type, hint, request id, and when to come back."""
    plain = error(503, "ServiceUnavailableException", "Not now.", Retry_After="7", x_request_id="r-1")
    reply = replace(plain, body={**plain.body, "hint": "Tomorrow?"})
    with FakeService(replies(reply)) as service, Client(service.url) as client, pytest.raises(Refused) as caught:
        client.register("seq.war")
    refused = caught.value
    assert (refused.status, refused.type, refused.message) == (503, "ServiceUnavailableException", "Not now.")
    assert (refused.hint, str(refused)) == ("Tomorrow?", "Not now. Tomorrow?")
    assert (refused.retry_after_s, refused.request_id, refused.body) == (7, "r-1", reply.content)


@pytest.mark.parametrize("token", ["wfm_secret", ""])
def test_token_is_sent_and_nothing_else(token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No password of a `.netrc` takes its place."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login alice password hunter2\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    with FakeService(lambda _: EMPTY) as service, Client(service.url, token=token) as client:
        list(client.list())
    assert service.requests[0].headers.get("authorization", "") == (f"Bearer {token}" if token else "")


def test_no_proxy_comes_before_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy would look for the service on its own machine."""
    for name in ("http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "other.example")
    with FakeService(lambda _: EMPTY) as service:
        for url in (service.url, service.url.replace("127.0.0.1", "localhost")):
            with Client(url) as client:
                assert list(client.list()) == []


def test_certificates_to_trust_are_named_for_this_machine_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Like those of a proxy beside the service; without them its own certificate is refused."""
    certificate, context = make_certificate(tmp_path, "localhost")

    def behave(connection: socket.socket, _server: ScriptedServer) -> None:
        connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{"workflows": []}')

    with ScriptedServer(behave, context) as server:
        url = server.url("", host="localhost", scheme="https")
        with Client(url, timeout_s=5) as client, pytest.raises(Unreachable, match="certificate verify failed"):
            list(client.list())
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        with Client(url, timeout_s=5) as client:
            assert list(client.list()) == []


@pytest.mark.parametrize("url", ["127.0.0.1:8081", "ftp://h", "http://", "http://h:0", "http://h:99999", "http://h?x"])
def test_url_that_is_no_address_of_a_server_is_refused(url: str) -> None:
    """Before anything is sent."""
    with pytest.raises(ValueError, match=r"expected the address|[Pp]ort"):
        Client(url)


def test_url_has_no_password() -> None:
    """It would not be sent, and does not belong into messages."""
    with pytest.raises(ValueError, match="no user and no password") as caught:
        Client("http://alice:hunter2@127.0.0.1:8081")
    assert "hunter2" not in str(caught.value)


def test_errors_keep_queries_to_themselves() -> None:
    """That of an archive's address may be signed."""
    with Client("http://127.0.0.1:1") as client, pytest.raises(Unreachable) as caught:
        client.register("https://models.example/seq.war?signature=secret")
    assert str(caught.value) == "http://127.0.0.1:1/workflows: Connection refused."


def test_paths_come_below_that_of_the_url() -> None:
    """A proxy may have the service under a path of its own."""
    with FakeService(lambda _: EMPTY) as service, Client(f"{service.url}/models/") as client:
        list(client.list())
    assert service.requests[0].path == "/models/workflows"


def test_list_walks_all_pages() -> None:
    """By name, so that removals meanwhile lose nothing."""

    def respond(request: Request) -> Reply:
        assert request.query["limit"] == "1000"
        names = {"": ["a", "b"], "b": ["c"]}[request.query["after"]]
        workflows = [{"workflowName": name, "workflowUrl": f"{name}.war"} for name in names]
        return Reply(body={**({"nextAfter": "b"} if "a" in names else {}), "workflows": workflows})

    with FakeService(respond) as service, Client(service.url) as client:
        assert [each.workflow_name for each in client.list()] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("respond", "message"),
    [
        (lambda _: Reply(body=[STARTING]), "m1: 0 of 1 workers"),
        (lambda _: error(503, "ServiceUnavailableException", "The runtime is starting."), "runtime is starting"),
        (lambda _: None, "the connection was lost|Remote end closed"),
    ],
    ids=["workers", "unavailable", "unreachable"],
)
def test_wait_ends_with_what_was_missing(respond: Callable[[Request], Reply | None], message: str) -> None:
    """Once the time is over."""
    with FakeService(respond) as service, Client(service.url) as client, pytest.raises(NotReady, match=message):
        client.wait_until_ready("seq", 0.1)


def test_wait_ends_when_all_workers_are_up() -> None:
    """The description then is the one that is returned."""
    starting = [Reply(body=[STARTING]), error(503, "ServiceUnavailableException", "Not now.")]
    with FakeService(replies(*starting, Reply(body=[SEQ]))) as service, Client(service.url) as client:
        assert client.wait_until_ready("seq", 30).nodes[0].ready_workers == 1


def test_wait_does_not_go_on_for_a_workflow_that_is_not_there() -> None:
    """A name that is wrong stays wrong."""
    reply = error(404, "WorkflowNotFoundException", "Workflow not found: seq")
    with FakeService(replies(reply)) as service, Client(service.url) as client:
        started = time.monotonic()
        with pytest.raises(errors.WorkflowNotFound):
            client.wait_until_ready("seq", 60)
        assert time.monotonic() - started < 30


def left_for_later(last: dict[str, object]) -> FakeService:
    """Return a service that carries a registration out later, which ends like this."""
    return FakeService(
        replies(Reply(status=202, body=ACCEPTED), Reply(body=OPERATION), Reply(body={**SUCCEEDED, **last}))
    )


def test_registration_that_is_carried_out_later_is_waited_for() -> None:
    """Its caller wants to know what came of it, however the service has it done."""
    with left_for_later({"state": "succeeded", "result": RESULT}) as service, Client(service.url) as client:
        registered = client.register("seq.war", version="1.0")
    assert registered.status == "Workflow seq has been registered and scaled successfully."
    assert (registered.version, registered.default, registered.warnings) == ("1.0", True, ("x",))


@pytest.mark.parametrize(
    ("last", "kind", "status"),
    [
        (
            {"state": "failed", "error": {"code": 404, "type": "WorkflowNotFoundException", "message": "none"}},
            errors.WorkflowNotFound,
            404,
        ),
        ({"state": "cancelled"}, ConflictStatus, 409),
    ],
    ids=["failed", "cancelled"],
)
def test_failure_of_what_was_carried_out_later_is_raised(
    last: dict[str, object], kind: type[Refused], status: int
) -> None:
    """As if it had been the answer, with the operation."""
    with (
        left_for_later(last) as service,
        Client(service.url) as client,
        pytest.raises(kind) as raised,
    ):
        client.register("seq.war")
    assert (raised.value.status, raised.value.operation) == (status, ACCEPTED["operation"])


def test_release_that_is_made_later_is_waited_for() -> None:
    """It returns the release, as if the service had made it at once."""
    release = {
        "number": 7,
        "at": "2026-11-23T20:53:36.386429Z",
        "actor": "anonymous",
        "reason": "",
        "previous": None,
        "kind": "set-default",
        "routes": [{"version": "2.0", "weight": 100}],
        "mirror": None,
        "sticky": None,
        "guard": None,
        "steps": None,
        "paused": False,
    }
    result = {"revision": 3, "release": release, "changed": True}
    with left_for_later({"kind": "release", "result": result}) as service, Client(service.url) as client:
        released = client.set_default("seq", "2.0")
    assert (released.release.number, released.changed) == (7, True)
    assert released.status == 'Release 7 is in force for workflow "seq"'
