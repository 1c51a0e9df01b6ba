"""The endpoints about the archives in the stores."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from flask import Blueprint, Response, request

from wfmgmt.api.access import caller
from wfmgmt.api.answers import json_response
from wfmgmt.api.parameters import query_parameters
from wfmgmt.api.write_rules import REMOVE_ARCHIVE
from wfmgmt.api.writes import Call, Writes
from wfmgmt.domain.archives import ArchiveKind
from wfmgmt.domain.plans import Plan
from wfmgmt.errors import BadRequest
from wfmgmt.http.answers import json_body
from wfmgmt.registry.kept_answers import Answer
from wfmgmt.registry.registry import timestamp
from wfmgmt.services.archive_store import ArchiveStore, StoredArchive

DEFAULT_ARCHIVES, MAX_ARCHIVES = 100, 1000
STORES: Mapping[str, ArchiveKind] = {kind.folder: kind for kind in ArchiveKind}
#: One of the two, in a path.
STORE = f"<any({', '.join(STORES)}):store>"
AFTER_FORM = rf"({'|'.join(STORES)})/[^/\\\x00-\x1f\x7f-\x9f]{{1,255}}"
LISTING: Mapping[str, Mapping[str, Any]] = {
    "limit": {"type": "integer", "minimum": 1, "maximum": MAX_ARCHIVES, "default": DEFAULT_ARCHIVES},
    "after": {"type": "string", "pattern": f"^({AFTER_FORM})?$", "description": "The nextAfter of the page before"},
}


def add_archive_routes(writes: Writes, *, archives: ArchiveStore) -> None:
    """Add the route that removes an archive."""

    @writes.route("DELETE", f"/archives/{STORE}/<file>", REMOVE_ARCHIVE, render=_removed)
    def remove_archive(call: Call, store: str, file: str) -> str | Plan:
        """Remove an archive that no version uses."""
        carry_out = archives.plan if call.change.dry_run else archives.remove
        return carry_out(STORES[store], file, call.change)


def archives_blueprint(archives: ArchiveStore) -> Blueprint:
    """Return the blueprint over the archives."""
    blueprint = Blueprint("archives", __name__)

    @blueprint.get("/archives")
    def list_archives() -> Response:
        """List the archives in both stores."""
        return _page(archives, tuple(ArchiveKind))

    @blueprint.get(f"/archives/{STORE}")
    def list_store(store: str) -> Response:
        """List the archives in one store."""
        return _page(archives, (STORES[store],))

    @blueprint.get(f"/archives/{STORE}/<file>")
    def show_archive(store: str, file: str) -> Response:
        """Show what is in an archive."""
        query_parameters(request, {})
        report, stored = archives.report(STORES[store], file)
        return json_response({**report.as_json(), **_stored_json(stored)})

    return blueprint


def _page(archives: ArchiveStore, kinds: Sequence[ArchiveKind]) -> Response:
    parameters = query_parameters(request, LISTING)
    limit = parameters.integer("limit") or DEFAULT_ARCHIVES
    found, has_more = archives.page(kinds, after=listed_after(parameters.text("after")), limit=limit)
    more = {"nextAfter": f"{found[-1].kind.folder}/{found[-1].file}"} if has_more and found else {}
    return json_response(
        {
            **more,
            "archives": [
                {
                    "file": each.file,
                    "kind": each.kind.value,
                    "sha256": each.sha256,
                    "bytes": each.size_bytes,
                    **_stored_json(each),
                }
                for each in found
            ],
        }
    )


def listed_after(text: str) -> tuple[ArchiveKind, str] | None:
    """Return the archive that a page of the list follows; None for the first page.

    Raises:
        BadRequest: The text names none.
    """
    if not text:
        return None
    if re.fullmatch(AFTER_FORM, text) is None:
        raise BadRequest(f"Parameter after: expected {' or '.join(f'{store}/NAME' for store in STORES)}.")
    store, _, file = text.partition("/")
    return STORES[store], file


def _stored_json(stored: StoredArchive) -> dict[str, object]:
    return {
        "storedAt": timestamp(stored.stored_at),
        "usedBy": [
            {"workflow": use.workflow, "version": use.version, "node": use.node}
            for use in stored.uses
            if use.workflow in caller().scope
        ],
    }


def _removed(file: str) -> Answer:
    return Answer(body=json_body({"status": f'Archive "{file}" removed'}))
