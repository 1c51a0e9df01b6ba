"""The pages of the archives in the stores."""

import json
from functools import partial

from flask import Blueprint, Response, request

from wfmgmt.api.access import caller
from wfmgmt.api.archives import LISTING, STORE, STORES, listed_after
from wfmgmt.api.parameters import query_parameters
from wfmgmt.api.write_rules import REMOVE_ARCHIVE
from wfmgmt.domain.archives import ArchiveKind, ArchiveUse
from wfmgmt.domain.plans import Plan
from wfmgmt.services.archive_store import ArchiveStore, StoredArchive
from wfmgmt.services.changes import Change
from wfmgmt.web.rendering import page, see_other
from wfmgmt.web.submissions import Form, Submission, Submissions

LINES = 50
_PAGE = "/ui/archives"


def add_archive_pages(blueprint: Blueprint, submissions: Submissions, *, archives: ArchiveStore) -> None:
    """Add the routes to a blueprint."""

    @blueprint.get(_PAGE)
    def list_archives() -> Response:
        """Show the archives in both stores, those of workflows first."""
        after = query_parameters(request, {"after": LISTING["after"]}).text("after")
        found, has_more = archives.page(tuple(ArchiveKind), after=listed_after(after), limit=LINES)
        next_after = f"{found[-1].kind.folder}/{found[-1].file}" if has_more and found else ""
        return page("archives.html", found=found, after=after, next_after=next_after, uses_of=_uses)

    @blueprint.get(f"{_PAGE}/{STORE}/<file>")
    def show_archive(store: str, file: str) -> Response:
        """Show what is in an archive, and what would keep it from being registered."""
        report, stored = archives.report(STORES[store], file)
        manifest = None if report.manifest is None else json.dumps(report.manifest, indent=2)
        return page("archive.html", report=report, stored=stored, manifest=manifest, uses=_uses(stored))

    remove = f"{_PAGE}/{STORE}/<file>/remove"
    submissions.add(remove, REMOVE_ARCHIVE, partial(_remove, archives), back=_PAGE)


def _uses(stored: StoredArchive) -> list[ArchiveUse]:
    """Return the versions that use an archive, as far as they exist for the client."""
    return [use for use in stored.uses if use.workflow in caller().scope]


def _remove(archives: ArchiveStore, form: Form, store: str, file: str) -> Submission:
    del form

    def act(change: Change) -> str | Plan:
        return (archives.plan if change.dry_run else archives.remove)(STORES[store], file, change)

    return Submission(method="DELETE", path=f"/archives/{store}/{file}", act=act, answer=lambda _: see_other(_PAGE))
