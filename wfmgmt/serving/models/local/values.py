"""Between bytes and what handlers get and return.

Source:
    TorchServe 0.12.0: bytes arrive as `bytearray`, JSON and text decoded, with the bytes in their place when that
    fails; an answer may be bytes, a text, a tensor of torch (as `torch.save` writes it) or anything that JSON can hold.
"""

import codecs
import io
import json
import sys
from typing import Any

#: Their decoders take time that grows with the square of the length, so that a client could hold up a worker.
_SLOW_CHARSETS = frozenset({"punycode", "idna"})
_to_json = json.JSONEncoder(indent=2).encode


def decode(content: bytearray, content_type: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return a value of a request as its handler gets it."""
    media_type, _, parameters = content_type.partition(";")
    media_type = media_type.strip().lower()
    try:
        if media_type == "application/json":
            return json.loads(content)
        if media_type.startswith("text/"):
            charset = codecs.lookup(_charset(parameters)).name
            return content if charset in _SLOW_CHARSETS else content.decode(charset)
    except (ValueError, LookupError, RecursionError):
        return content
    return content


def _charset(parameters: str) -> str:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip('"') or "utf-8"
    return "utf-8"


def encode(value: Any) -> bytes | bytearray:  # noqa: ANN401 - any value that a handler returns
    """Return an answer of a handler as bytes.

    Raises:
        ValueError, TypeError, RecursionError: It is nothing that has bytes.
    """
    if isinstance(value, bytes | bytearray):
        return value
    if isinstance(value, str):
        return value.encode()
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        saved = io.BytesIO()
        torch.save(value, saved)
        return saved.getvalue()
    return _to_json(value).encode()
