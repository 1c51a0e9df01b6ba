"""What a client sends to a workflow, as the fields that the first handler gets.

Source:
    TorchServe 0.12.0: form fields and parts of a multipart body under their names, any other body as `body`, parameters
    of the query beside them.
"""

import asyncio
import json
from urllib.parse import parse_qsl

from aiohttp import BodyPartReader, MultipartReader, StreamReader, web
from aiohttp.base_protocol import BaseProtocol

from wfmgmt.errors import BadRequest, RequestTooLarge
from wfmgmt.serving.models.base import InputField
from wfmgmt.serving.predictions import Place

#: How long a client may take to send a body.
BODY_TIMEOUT_S = 60.0
#: Parameters of the query that are meant for the server.
TRACE = "trace"

_FORM = "application/x-www-form-urlencoded"
_MULTIPART = "multipart/form-data"
_MOST_FIELDS = 1000


class BodyTimeout(Exception):
    """The client did not send its body in time."""


async def read_fields(request: web.Request, place: Place) -> list[InputField]:
    """Read the body of a request and return its fields.

    Raises:
        RequestTooLarge: The body is longer than allowed.
        TooManyRequests: There is no room for it now.
        BadRequest: It is a form that cannot be read.
        BodyTimeout: It does not come.
    """
    try:
        if request.content.is_eof():  # It came with the head, like most.
            body = await _read(request, place)
        else:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                body = await _read(request, place)
    except TimeoutError:
        raise BodyTimeout from None
    except web.RequestPayloadError as error:
        reason = str(error).rpartition("message:")[2].strip()
        raise BadRequest(f"The body cannot be decoded: {reason}.") from error
    fields = [InputField(name, value.encode()) for name, value in request.query.items() if name != TRACE]
    if request.content_type == _FORM:
        fields += _form_fields(body)
    elif request.content_type == _MULTIPART:
        fields += await _multipart_fields(request, body)
    else:
        fields.append(InputField("body", body, request.headers.get("Content-Type", "")))
    if len(fields) > _MOST_FIELDS:
        raise BadRequest(f"The request has {len(fields)} fields; at most {_MOST_FIELDS} are allowed.")
    return fields


def encode_headers(request: web.Request) -> bytes:
    """Return the client's headers as a JSON object; of several with one name the values are joined by commas."""
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return json.dumps(headers).encode()


async def _read(request: web.Request, place: Place) -> bytes | bytearray:
    """Read the body, asking for room before it is taken."""
    announced = request.content_length
    if announced is not None and "Content-Encoding" not in request.headers:
        if announced > place.limit_bytes:
            raise RequestTooLarge(place.limit_bytes)
        place.reserve(announced)
        return await request.content.read()
    body = bytearray()
    async for chunk in request.content.iter_any():
        if len(body) + len(chunk) > place.limit_bytes:
            raise RequestTooLarge(place.limit_bytes)
        place.reserve(len(chunk))
        body += chunk
    return body


def _form_fields(body: bytes | bytearray) -> list[InputField]:
    """Read a form as browsers and curl encode it."""
    try:
        pairs = parse_qsl(bytes(body), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError as error:
        raise BadRequest(f"The body is not a form of at most {_MOST_FIELDS} fields: {error}.") from error
    return [InputField(name.decode("utf-8", "replace"), value) for name, value in pairs]


async def _multipart_fields(request: web.Request, body: bytes | bytearray) -> list[InputField]:
    """Read a multipart form, which is in memory already."""
    loop = asyncio.get_running_loop()
    content = StreamReader(BaseProtocol(loop), limit=len(body) + 1, loop=loop)
    content.feed_data(bytes(body))
    content.feed_eof()
    fields: list[InputField] = []
    try:
        parts = MultipartReader(request.headers, content)
        while (part := await parts.next()) is not None and len(fields) <= _MOST_FIELDS:
            if not isinstance(part, BodyPartReader) or not part.name:
                raise BadRequest(f"Part {len(fields) + 1} of the multipart body has no name; expected a form field.")
            value = bytes(await part.read(decode=True))
            fields.append(InputField(part.name, value, part.headers.get("Content-Type", "")))
    except (ValueError, AssertionError, RuntimeError, LookupError) as error:
        raise BadRequest(f"The multipart body cannot be read: {error or type(error).__name__}.") from error
    return fields
