"""Request bodies of predictions, parsed into the fields that the first handler gets.

Source:
    TorchServe 0.12.0: form fields and parts of a multipart body under their names, any other body as `body`. Parameters
    of the query beside them, as it gives them to models; those of workflows do not reach handlers there.
"""

import asyncio
import json
import re
from email.message import Message
from email.parser import Parser
from email.utils import collapse_rfc2231_value

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from wfmgmt.domain.tokens import has_token
from wfmgmt.errors import BadRequest
from wfmgmt.errors.predictions import RequestTooLarge, RequestTooSlow
from wfmgmt.serving.compression import supported_encoding, unpacked
from wfmgmt.serving.models.base import InputField, described_bytes
from wfmgmt.serving.predictions import Permit
from wfmgmt.timeouts import timeout_after

#: How long a client may take to send a body.
BODY_TIMEOUT_S = 60.0
#: Parameters of the query that are meant for the server.
TRACE = "trace"

_FORM = "application/x-www-form-urlencoded"
_MULTIPART = "multipart/form-data"
_MAX_FIELDS = 1000
#: All that a worker gets about one request besides its values has to fit into the header of a message.
_MAX_DESCRIPTION, _MAX_CONTENT_TYPE = 512 * 1024, 200
_MAX_PART_HEAD = 16 * 1024
#: Longer forms are read in a thread, so that others are served meanwhile.
_PARSED_AT_ONCE = 64 * 1024
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_UNESCAPED = {b"%02x" % value: bytes([value]) for value in range(256)}


async def read_fields(request: web.Request, permit: Permit) -> list[InputField]:
    """Read the body of a request and return its fields.

    Raises:
        RequestTooLarge: The body is longer than allowed.
        Saturated: There is no room for it now.
        BadRequest: It is a form that cannot be read, or is not compressed as it says.
        UnsupportedEncoding: It is compressed in a way that is not read.
        RequestTooSlow: It does not come.
    """
    encoding = supported_encoding(request.headers.get("Content-Encoding", ""))
    try:
        if request.content.is_eof():  # It came with the head, like most.
            body = await _read(request, permit)
        else:
            async with timeout_after(BODY_TIMEOUT_S):
                body = await _read(request, permit)
    except TimeoutError:
        raise RequestTooSlow("body", BODY_TIMEOUT_S) from None
    except (web.RequestPayloadError, HttpProcessingError) as error:
        reason = str(error).rpartition("message:")[2].strip()
        raise BadRequest(f"The body cannot be decoded: {reason or type(error).__name__}.") from error
    if encoding != "identity" and body:
        packed_bytes = len(body)
        body = bytes(await unpacked(body, encoding, permit))
        permit.release(packed_bytes)
    fields = [
        InputField(name, value.encode("utf-8", "replace")) for name, value in request.query.items() if name != TRACE
    ]
    if request.content_type in {_FORM, _MULTIPART}:
        if len(body) <= _PARSED_AT_ONCE:
            fields += _fields_of_form(request, body)
        else:
            fields += await asyncio.to_thread(_fields_of_form, request, body)
    else:
        fields.append(InputField("body", body, _content_type(request.headers.get("Content-Type", ""))))
    _check(fields)
    return fields


def _fields_of_form(request: web.Request, body: bytes) -> list[InputField]:
    if request.content_type == _FORM:
        return _form_fields(body)
    return _multipart_fields(request.headers["Content-Type"], body)


def _content_type(text: str) -> str:
    """Return a content type, none when it is longer than any that means something."""
    return text if len(text) <= _MAX_CONTENT_TYPE else ""


def _check(fields: list[InputField]) -> None:
    """Refuse more than can be handed to a worker in one message."""
    if len(fields) > _MAX_FIELDS:
        raise BadRequest(f"The body is not a form of at most {_MAX_FIELDS} fields.")
    if described_bytes(fields) > _MAX_DESCRIPTION:
        raise BadRequest("The names and content types of the fields are too long to be handed over together.")


def encode_headers(request: web.Request) -> bytes:
    """Return the client's headers as a JSON object; of several with one name the values are joined by commas.

    Tokens of ours are for us, and not for handlers and other servers; other credentials may be for those.
    """
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        if has_token(value):
            continue
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return json.dumps(headers).encode()


def with_header(headers: bytes, name: str, value: str) -> bytes:
    """Return encoded headers with one more, in place of what the client may have sent under that name."""
    others = {known: each for known, each in json.loads(headers).items() if known.lower() != name}
    return json.dumps({**others, name: value}).encode()


async def _read(request: web.Request, permit: Permit) -> bytes:
    """Read the body, asking for room as it comes."""
    if request.content_length is not None and request.content_length > permit.limit_bytes:
        raise RequestTooLarge(permit.limit_bytes)
    chunks, size_bytes = [], 0
    async for chunk in request.content.iter_any():
        size_bytes += len(chunk)
        if size_bytes > permit.limit_bytes:
            raise RequestTooLarge(permit.limit_bytes)
        permit.reserve(len(chunk))
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _form_fields(body: bytes) -> list[InputField]:
    """Read a form as browsers and curl encode it."""
    fields = []
    for pair in body.split(b"&", _MAX_FIELDS + 1):
        name, _, value = pair.partition(b"=")
        if pair:
            fields.append(InputField(_unquoted(name).decode("utf-8", "replace"), _unquoted(value)))
    return fields


def _unquoted(text: bytes) -> bytes:
    """Return text of a form without its escapes, in time and memory that grow with its length only."""
    return _ESCAPE.sub(lambda found: _UNESCAPED[found[1].lower()], text.replace(b"+", b" "))


def _multipart_fields(content_type: str, body: bytes) -> list[InputField]:
    """Read a multipart form that is in memory.

    It is split by its boundary as a whole: parsers that go line by line take seconds for megabytes of line ends.

    Source:
        RFC 7578; transfer encodings of parts, which it deprecates, are not decoded.
    """
    boundary = _message(f"Content-Type: {content_type}".encode("latin-1", "replace")).get_boundary()
    if not boundary:
        raise BadRequest("The multipart body cannot be read: its content type names no boundary.")
    delimiter = b"\r\n--" + boundary.encode("latin-1", "replace")
    _, *parts = (b"\r\n" + body).split(delimiter, _MAX_FIELDS + 1)
    fields: list[InputField] = []
    for part in parts:
        if part.startswith(b"--"):
            return fields
        head, separator, content = part.partition(b"\r\n\r\n")
        if not separator or len(head) > _MAX_PART_HEAD:
            raise BadRequest(f"The multipart body cannot be read: part {len(fields) + 1} has no head of its own.")
        headers = _message(head.lstrip(b" \t\r\n"))
        name = collapse_rfc2231_value(headers.get_param("name", "", header="Content-Disposition"))
        if not name:
            raise BadRequest(f"Part {len(fields) + 1} of the multipart body has no name; expected a form field.")
        fields.append(InputField(name, content, _content_type(str(headers.get("Content-Type", "")))))
    raise BadRequest("The multipart body cannot be read: its last boundary is missing.")


def _message(head: bytes) -> Message:
    """Return the headers of a part."""
    return Parser().parsestr(head.decode("utf-8", "replace"), headersonly=True)
