"""The header `Idempotency-Key`: reading it, and what makes two requests the same."""

import hashlib
import re
from urllib.parse import quote

from flask import Request

from wfmgmt.api.bodies import Received
from wfmgmt.domain.audit import canonical_json
from wfmgmt.domain.names import quoted
from wfmgmt.domain.tokens import has_token
from wfmgmt.errors import BadRequest
from wfmgmt.registry.kept_answers import KeyedRequest

HEADER = "Idempotency-Key"
#: On an answer that was kept from an earlier request.
REPLAYED = "idempotent-replayed"
KEY_FORM = "[ -~]{1,255}"

_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


def keyed_request(request: Request, actor: str, received: Received | None = None) -> KeyedRequest | None:
    """Return what a request is known by when it is repeated; None without a key.

    Args:
        request: The request.
        actor: Who sends it.
        received: Its body, when that was read as it arrived.

    Raises:
        BadRequest: The key is empty, too long or not printable.
    """
    key = request.headers.get(HEADER)
    if key is None:
        return None
    if re.fullmatch(KEY_FORM, key) is None:
        raise BadRequest(f"Header {HEADER}: expected 1 to 255 printable ASCII characters, got {quoted(key)}.")
    if has_token(key):
        raise BadRequest(f"Header {HEADER}: expected no token; those belong in the header Authorization.")
    path = quote(request.path.rstrip("/"))
    return KeyedRequest(scope=f"{actor} {request.method} {path}", key=key, sha256=_digest(request, received))


def _digest(request: Request, received: Received | None) -> str:
    """Return a digest over query, body and conditions. Fields of a form count, not the boundary between them."""
    body: object
    if received is not None:
        body = [sorted(received.fields.items()), received.digests]
    elif request.mimetype in _FORMS:
        body = [sorted(request.form.items(multi=True)), sorted(request.files)]
    else:
        body = request.get_data().hex()
    facts = [sorted(request.args.items(multi=True)), request.mimetype, body, request.headers.get("If-Match")]
    return hashlib.sha256(canonical_json(facts).encode()).hexdigest()
