"""Requests and answers between a node and a TorchServe."""

import json
from email.parser import BytesParser

import pytest

from wfmgmt.domain.faults import Fault
from wfmgmt.serving.models.base import InputField, NodeRequest, NoWorker, PredictionFailed, PredictionRefused
from wfmgmt.serving.models.torchserve.codec import ModelForgotten, decode, encode
from wfmgmt.torchserve.connection import Reply

ID = {"x-request-id": "u"}
JSON = {"Content-Type": "application/json", **ID}


def encoded(*fields: InputField, headers: str = "{}", with_authorization: bool = True) -> tuple[bytes, dict[str, str]]:
    """Return body and headers of the message with these fields."""
    body, sent = encode(NodeRequest("the-id", headers.encode(), fields), with_authorization=with_authorization)
    return bytes(body), sent


@pytest.mark.parametrize(
    ("content_type", "sent"),
    [
        ("", "application/octet-stream"),
        ("application/json", "application/json"),
        ("text/plain", "text/plain"),
        ("text/plain; charset=nosuch", "text/plain; charset=nosuch"),
        ("application/x-www-form-urlencoded", "application/octet-stream"),
        ("Multipart/form-data; boundary=x", "application/octet-stream"),
    ],
)
def test_a_body_is_sent_as_it_is(content_type: str, sent: str) -> None:
    """One value named body is the body, under a content type that TorchServe does not take apart."""
    body, headers = encoded(InputField("body", b"\xff\x00", content_type))
    assert (body, headers["Content-Type"]) == (b"\xff\x00", sent)


def test_text_is_sent_in_utf8() -> None:
    """TorchServe hands over any other encoding as bytes."""
    body, headers = encoded(InputField("body", "gr\u00fcn".encode("latin-1"), "Text/Plain; charset=latin-1"))
    assert (body.decode(), headers["Content-Type"]) == ("gr\u00fcn", "text/plain; charset=utf-8")


def test_several_values_are_parts_of_a_form() -> None:
    """Any value keeps its name, its bytes and its content type."""
    fields = [
        InputField("m1", b"\r\n--boundary\r\n\x00"),
        InputField("m2", b'{"a": 1}', "application/json"),
        InputField('gr\u00fcn "\r\n', b""),
    ]
    body, headers = encoded(*fields)
    message = BytesParser().parsebytes(f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode() + body)
    assert message.is_multipart()
    _, *parts = message.walk()
    assert [part.get_content_type() for part in parts] == [
        "application/octet-stream",
        "application/json",
        "application/octet-stream",
    ]
    assert [part.get_payload(decode=True) for part in parts] == [b"\r\n--boundary\r\n\x00", b'{"a": 1}', b""]
    assert b'name="m1"; filename="m1"' in body
    assert 'name="gr\u00fcn %22%0D%0A"'.encode() in body


def test_client_headers_are_passed_on() -> None:
    """But for those that are about the client's own message, and those that have to be ours."""
    client = {
        "Host": "x",
        "Content-Length": "9",
        "Content-Type": "a/b",
        "Transfer-Encoding": "chunked",
        "Content-Encoding": "gzip",
        "X-City": "Ulm",
        "Authorization": "Bearer client",
    }
    _, headers = encoded(InputField("body", b""), headers=json.dumps(client))
    assert headers == {
        "X-City": "Ulm",
        "Authorization": "Bearer client",
        "x-request-id": "the-id",
        "Content-Type": "application/octet-stream",
    }
    _, headers = encoded(InputField("body", b""), headers=json.dumps(client), with_authorization=False)
    assert "Authorization" not in headers


def own(code: int, kind: str, message: str) -> Reply:
    """Return an error of TorchServe's own."""
    body = json.dumps({"code": code, "type": kind, "message": message}, indent=2) + "\n"
    return Reply(code, "Some Reason", JSON, body.encode())


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, "", ID, b"\xff"),
        Reply(500, "", JSON, own(500, "InternalServerException", "Prediction failed").body),
        Reply(500, "Oh", ID, own(500, "InternalServerException", "Prediction failed").body),
        Reply(500, "Oh", JSON, b"[1]"),
        Reply(500, "Oh", JSON, b'{"code": 500, "type": "x", "message": "y", "more": 1}'),
        Reply(404, "Oh", JSON, b'{"code": 500, "type": "x", "message": "y"}'),
        Reply(404, "Oh", JSON, b"no JSON"),
    ],
    ids=["good", "no reason phrase", "no JSON type", "a list", "more keys", "another code", "no JSON"],
)
def test_answers_of_handlers_pass_through(reply: Reply) -> None:
    """Any status that is not an error of TorchServe's own is the handler's."""
    answer = decode(reply, server="http://s", worker=1)
    assert (answer.status, answer.content) == (reply.status, reply.body)


def test_what_the_handler_set_is_kept() -> None:
    """Its content type and headers are the answer's, and what TorchServe adds is not."""
    headers = {
        "Content-Type": "text/plain",
        "X-Model": "7",
        **ID,
        "Pragma": "no-cache",
        "Connection": "close",
    }
    answer = decode(Reply(201, "Created", headers, b"x"), server="http://s", worker=1)
    assert (answer.content_type, answer.headers) == ("text/plain", {"x-model": "7"})
    assert decode(Reply(200, "", ID, b"x"), server="http://s", worker=1).content_type is None


@pytest.mark.parametrize(
    ("reply", "error", "text"),
    [
        (own(503, "InternalServerException", "Prediction failed"), PredictionFailed, "TorchServe at http://s: Predict"),
        (own(507, "InternalServerException", "Worker died."), PredictionFailed, "http://s: Worker died"),
        (own(503, "ServiceUnavailableException", "no worker"), NoWorker, "http://s has no worker for it"),
        (own(404, "ModelNotFoundException", "Model not found: x"), ModelForgotten, "does not hold the model"),
        (own(400, "InvalidKeyException", "Token"), NoWorker, "does not accept our key"),
        (own(418, "TeapotException", "short and stout"), PredictionFailed, "answered 418 TeapotException: short"),
        (Reply(99, "", ID, b""), PredictionFailed, "it set the status 99; expected 200 to 599"),
        (Reply(200, "OK", {}, b"<html>"), PredictionFailed, "http://s answered as no TorchServe does"),
    ],
    ids=["handler", "worker", "no worker", "forgotten", "key", "unknown", "status", "another server"],
)
def test_errors_of_torchserve_are_told_apart(reply: Reply, error: type[Exception], text: str) -> None:
    """Each becomes what it means here, with the server's name where it is the server's word."""
    with pytest.raises(error, match=text):
        decode(reply, server="http://s", worker=1)


@pytest.mark.parametrize(
    ("reply", "status", "text"),
    [
        (own(404, "InternalServerException", "no such city"), 404, "no such city"),
        (Reply(413, "Request Entity Too Large", {}, b""), 413, "takes no request that long"),
    ],
)
def test_refusals_keep_their_status(reply: Reply, status: int, text: str) -> None:
    """A status that a handler chose, or a request that no other try makes shorter, ends the request."""
    with pytest.raises(PredictionRefused, match=text) as raised:
        decode(reply, server="http://s", worker=1)
    assert raised.value.status == status


def test_failures_name_the_server_to_avoid() -> None:
    """The next attempt goes elsewhere, and a failure of the server itself is called one."""
    with pytest.raises(PredictionFailed) as raised:
        decode(own(503, "InternalServerException", "Prediction failed"), server="http://s", worker=2)
    assert (raised.value.worker, raised.value.fault) == (2, Fault.MODEL)
    with pytest.raises(PredictionFailed) as raised:
        decode(own(502, "ProxyException", "x"), server="http://s", worker=2)
    assert raised.value.fault is Fault.FAILED
