"""The style sheet, the scripts and the icon of the page."""

import hashlib
from functools import cache
from pathlib import Path
from typing import NamedTuple

from flask import Response, request
from werkzeug.exceptions import NotFound

_FOLDER = Path(__file__).parent / "static"
_TYPES = {
    "htmx.min.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "page.js": "text/javascript; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
}
#: An address that names the digest never shows anything else.
_FOR_EVER = "public, max-age=31536000, immutable"


class _File(NamedTuple):
    content: bytes
    digest: str


class StaticFiles:
    """Answers with the files, and says where they are; each is read when it is needed first."""

    def answer(self, file: str) -> Response:
        """Return a file; its view.

        Raises:
            NotFound: There is none of that name.
        """
        if file not in _TYPES:
            raise NotFound
        content, digest = _read(file)
        answer = Response(content, content_type=_TYPES[file])
        answer.set_etag(digest)
        answer.headers["Cache-Control"] = _FOR_EVER if request.args.get("v") == digest else "no-cache"
        answer.make_conditional(request)
        return answer

    def address(self, name: str) -> str:
        """Return the address under which browsers may keep a file."""
        return f"/ui/static/{name}?v={_read(name).digest}"


@cache
def _read(name: str) -> _File:
    content = (_FOLDER / name).read_bytes()
    return _File(content, hashlib.sha256(content).hexdigest()[:16])
