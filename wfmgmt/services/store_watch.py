"""The workflow store as it is watched: a new archive there becomes a workflow, or a version that gets no requests."""

import json
import logging
import re
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from wfmgmt.archives.reading import open_archive
from wfmgmt.archives.report import ArchiveReport
from wfmgmt.archives.seen import looks_of
from wfmgmt.archives.stores import StoreFolders, model_file_name
from wfmgmt.domain.archives import ArchiveKind
from wfmgmt.domain.audit import Origin
from wfmgmt.domain.limits import Limits
from wfmgmt.domain.releases import FIRST_VERSION
from wfmgmt.errors import ArchiveNotFound, InvalidArchive, Saturated, TooManyRegistrations, WfmgmtError
from wfmgmt.registry.registry import Registry
from wfmgmt.services.archive_store import ArchiveStore
from wfmgmt.services.changes import Change
from wfmgmt.services.preparation import RegistrationRequest
from wfmgmt.services.registration_queue import RegistrationQueue
from wfmgmt.services.registration_records import new_operation

_log = logging.getLogger("wfmgmt.registration")

#: How long a file has to be left alone before it is looked into; a copy that stalls for longer is no archive yet.
SETTLED_S = 2.0
#: How often an archive is looked into that cannot be registered yet.
RETRY_S = 10.0
_CHANGE = Change(origin=Origin(actor="housekeeping"), reason="WFMGMT_WATCH_STORE")
_MAJOR = re.compile("[0-9]{1,9}")


class StoreWatch:
    """Registers archives that appear in the workflow store, or change there. For one thread.

    What it has seen is in a file, so that nothing is registered a second time, whatever was unregistered meanwhile, and
    what appeared while the service was down is registered. What is there when it looks for the first time is not new.

    Args:
        registry: The registry.
        folders: The stores.
        archives: Looks into archives.
        queue: Carries registrations out.
        limits: What archives are held to.
        record: The file.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        folders: StoreFolders,
        archives: ArchiveStore,
        queue: RegistrationQueue,
        limits: Limits,
        record: Path,
    ) -> None:
        self._registry = registry
        self._folders = folders
        self._archives = archives
        self._queue = queue
        self._limits = limits
        self._record = record
        self._retry_at: dict[str, float] = {}
        self._logged: dict[str, str] = {}

    def run(self) -> None:
        """Look once.

        Raises:
            RegistryUnavailable, FolderUnavailable, OSError: Something cannot be read or written; call it again later.
        """
        names = self._folders.workflow.names()
        before = self._read()
        known = self._as_they_look(names) if before is None else before
        seen = {name: looks for name, looks in known.items() if name in names}
        for name in names:
            looks = looks_of(self._folders.workflow.path(name))
            if looks is not None and looks != seen.get(name) and self._is_done_with(name, looks):
                seen[name] = looks
        if seen != before:
            unfinished = self._record.with_suffix(".unfinished")
            unfinished.write_text(json.dumps(seen), encoding="utf-8")
            unfinished.replace(self._record)

    def _read(self) -> dict[str, str] | None:
        """Return what every archive looked like that needs nothing any more; None before the first look."""
        with suppress(FileNotFoundError, ValueError):
            return dict(json.loads(self._record.read_text(encoding="utf-8")))
        return None

    def _as_they_look(self, names: Collection[str]) -> dict[str, str]:
        found = {name: looks_of(self._folders.workflow.path(name)) for name in names}
        return {name: looks for name, looks in found.items() if looks is not None}

    def _is_done_with(self, name: str, looks: str) -> bool:
        """Have an archive registered if that is possible; False when it is to be looked at again."""
        if time.monotonic() < self._retry_at.get(looks, 0.0):
            return False
        try:
            if not _is_settled(self._folders.workflow.path(name)):
                return False
            report, _ = self._archives.report(ArchiveKind.WORKFLOW, name)
            problem = self._problem(report)
        except (ArchiveNotFound, Saturated, FileNotFoundError):
            return False
        except InvalidArchive as error:
            problem = error.reason
        else:
            if not problem:
                return self._register(name, report)
        self._retry_at[looks] = time.monotonic() + RETRY_S
        if self._logged.get(name) != problem:
            self._logged[name] = problem
            _log.warning("not registered yet: %s: %s", name, problem)
        return False

    def _problem(self, report: ArchiveReport) -> str:
        """Return what keeps an archive from being registered, which may be there later; empty when nothing does."""
        if report.problems:
            return report.problems[0]
        for url in (node.url for node in report.nodes or () if node.in_store and node.url is not None):
            path = self._folders.model.path(model_file_name(url))
            if not _is_settled(path):
                return f"{url} is being written"
            try:
                with open_archive(path, self._limits):
                    pass
            except InvalidArchive as error:
                return f"{url}: {error.reason}"
        return ""

    def _register(self, name: str, report: ArchiveReport) -> bool:
        workflow = str((report.manifest or {})["workflow"]["workflowName"])
        with self._registry.read() as reader:
            if report.sha256 in reader.digests():
                return True
            target = reader.target(workflow)
            if target is None and reader.status(workflow) is not None:
                return False  # Its first version is being registered, or the last one unregistered.
            version = FIRST_VERSION if target is None else _next_version(target.versions)
            request = RegistrationRequest(url=name, workflow_name=workflow, version=version)
            if reader.operations.with_key(str(new_operation(request, _CHANGE).key)) is not None:
                return False
        try:
            self._queue.accept(request, _CHANGE)
        except TooManyRegistrations:
            return False
        except WfmgmtError as error:
            _log.warning("not registered: %s: %s", name, error)
        return True


def _is_settled(path: Path) -> bool:
    """Return whether nobody has written to a file, or renamed it, for a while."""
    return time.time() - path.stat().st_ctime >= SETTLED_S


def _next_version(versions: Collection[str]) -> str:
    """Return the next whole number after those that versions begin with, as `3.0`."""
    numbers = [int(found.group()) for version in versions if (found := _MAJOR.match(version))]
    return f"{max(numbers, default=1) + 1}.0"
