"""How a body reaches a handler: as fields, by what its content type says."""

import re
from email.message import Message
from email.parser import Parser
from email.utils import collapse_rfc2231_value
from urllib.parse import unquote_to_bytes

from tests.support.fake_torchserve.answers import OwnError
from wfmgmt.serving.models.base import InputField

_FORM = "application/x-www-form-urlencoded"
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def read_fields(content_type: str, body: bytes) -> list[InputField]:
    """Return the fields of a body; of several with one name the last wins.

    Raises:
        OwnError: It is a form that cannot be read.
    """
    head = _head(f"Content-Type: {content_type}" if content_type else "")
    boundary = head.get_boundary() if head.get_content_type() == "multipart/form-data" else None
    if boundary:
        return _parts(boundary.encode("latin-1"), body)
    if content_type.partition(";")[0].strip().lower() == _FORM:
        return _form_fields(body)
    return [InputField("body", body, _decoded_as(content_type))]


def _decoded_as(content_type: str) -> str:
    """Return a content type as the handler's side decodes it: text is UTF-8 or nothing."""
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type if media_type == "application/json" or media_type.startswith("text/") else ""


def _form_fields(body: bytes) -> list[InputField]:
    if broken := _BROKEN_ESCAPE.search(body):
        text = body[broken.start() : broken.start() + 3].decode("latin-1")
        raise OwnError(500, "ErrorDataDecoderException", f"Invalid hex byte at index '0' in string: '{text}'")
    pairs = (pair.partition(b"=") for pair in body.replace(b"+", b" ").split(b"&") if pair)
    return [InputField(unquote_to_bytes(name).decode(), unquote_to_bytes(value)) for name, _, value in pairs]


def _parts(boundary: bytes, body: bytes) -> list[InputField]:
    """Read a multipart form; one that is cut off has no parts, and that is no error."""
    _, *parts = (b"\r\n" + body).split(b"\r\n--" + boundary)
    if not parts or not parts[-1].startswith(b"--"):
        return []
    return [_part(*part.partition(b"\r\n\r\n")) for part in parts[:-1]]


def _part(head: bytes, _separator: bytes, content: bytes) -> InputField:
    """Read one part: its content type counts only beside a file name."""
    told = _head(head.decode().lstrip("\r\n"))
    name = collapse_rfc2231_value(told.get_param("name", "", header="Content-Disposition"))
    is_file = told.get_param("filename", header="Content-Disposition") is not None
    return InputField(name, content, _decoded_as(str(told.get("Content-Type", ""))) if is_file else "")


def _head(text: str) -> Message:
    return Parser().parsestr(text, headersonly=True)
