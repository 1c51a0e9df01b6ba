"""The endpoint that takes archives into the stores."""

import base64
import binascii
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from urllib.parse import quote

from flask import request

from wfmgmt.api.archives import STORE, STORES
from wfmgmt.api.bodies import Received, check_sent_whole, pieces_of
from wfmgmt.api.parameters import Parameters, given_parameters
from wfmgmt.api.write_rules import UPLOAD
from wfmgmt.api.writes import Call, Writes
from wfmgmt.errors import BadRequest
from wfmgmt.http.answers import json_body
from wfmgmt.registry.kept_answers import Answer
from wfmgmt.services.uploads import Uploaded, Uploads

_DIGEST = re.compile(r"(?:^|,)\s*sha-256\s*=\s*:([A-Za-z0-9+/]{43}=):\s*(?:;[^,]*)?(?=,|$)")


def add_upload_routes(writes: Writes, *, uploads: Uploads) -> None:
    """Add the route that takes archives."""

    @contextmanager
    def receive(store: str, file: str) -> Iterator[Received]:
        parameters = Parameters(given_parameters(request, {}), UPLOAD.schemas)
        check_sent_whole(request)
        with uploads.receive(
            STORES[store].value,
            file,
            pieces_of(request),
            declared_bytes=request.content_length,
            sha256=_expected_digest(parameters),
        ) as upload:
            yield Received(files=upload, digests=upload.file.sha256)

    @writes.route("PUT", f"/archives/{STORE}/<file>", UPLOAD, render=_uploaded, receive=receive)
    def upload(call: Call, store: str, file: str) -> Uploaded:
        """Put an archive into a store."""
        del store, file
        if call.change.plan or call.change.expected is not None:
            raise BadRequest("Parameter plan and header If-Match: archives have neither plans nor revisions.")
        return uploads.store(call.files, call.change, replace=call.parameters.flag("replace") or False)


def _expected_digest(parameters: Parameters) -> str:
    """Return the SHA-256 that the body has to have, in hexadecimal digits; an empty text for any.

    Source:
        RFC 9530, Repr-Digest.
    """
    stated = parameters.text("sha256").lower()
    if stated and re.fullmatch("[0-9a-f]{64}", stated) is None:
        raise BadRequest("Parameter sha256: expected 64 hexadecimal digits.")
    header = request.headers.get("Repr-Digest")
    if header is None:
        return stated
    found = _DIGEST.search(header)
    try:
        digest = base64.b64decode(found[1], validate=True).hex() if found else ""
    except binascii.Error:
        digest = ""
    if not digest or stated not in ("", digest):
        raise BadRequest("Header Repr-Digest: expected sha-256=:<base64>:, of the same digest as parameter sha256.")
    return digest


def _uploaded(uploaded: Uploaded) -> Answer:
    file = uploaded.file
    body = {"file": file.name, "sha256": file.sha256, "bytes": file.size_bytes, "report": uploaded.report}
    is_shown = uploaded.is_new and uploaded.report is not None
    headers = {"Location": f"/archives/{file.store}s/{quote(file.name)}"} if is_shown else {}
    return Answer(
        body=json_body(body), status=HTTPStatus.CREATED if uploaded.is_new else HTTPStatus.OK, headers=headers
    )
