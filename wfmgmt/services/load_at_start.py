"""Archives of the workflow store that are registered when the service starts."""

import logging
from collections.abc import Sequence
from itertools import islice

from wfmgmt.archives.stores import ArchiveFolder
from wfmgmt.control.start_marker import StartMarker
from wfmgmt.domain.archives import ArchiveKind
from wfmgmt.domain.audit import Origin
from wfmgmt.domain.operations import Operation, OperationState
from wfmgmt.errors import TooManyRegistrations, WfmgmtError
from wfmgmt.registry.registry import Registry
from wfmgmt.services.changes import Change
from wfmgmt.services.preparation import RegistrationRequest
from wfmgmt.services.registration_queue import RegistrationQueue
from wfmgmt.services.registration_records import new_operation

_log = logging.getLogger("wfmgmt.registration")

#: Stands for all archives in the store.
ALL = "all"
_CHANGE = Change(origin=Origin(actor="housekeeping"), reason="WFMGMT_LOAD_AT_START")
#: Operations whose end is looked for at a time; they end in their order, more or less.
_AT_ONCE = 100


class LoadAtStart:
    """Registers archives, and follows that until all are registered or have failed. One that fails stops no other.

    For one thread. What another process has begun is followed to its end, so that any process can go on with it.

    Args:
        registry: The registry.
        folder: The workflow store.
        queue: Carries registrations out.
        wanted: Names of archives in the store, or `ALL`.
        marker: Gets to know when all have ended.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        folder: ArchiveFolder,
        queue: RegistrationQueue,
        wanted: Sequence[str],
        marker: StartMarker,
    ) -> None:
        self._registry = registry
        self._folder = folder
        self._queue = queue
        self._wanted = wanted
        self._marker = marker
        self._left: list[str] | None = None
        self._under_way: dict[str, str] = {}

    def run(self) -> None:
        """Go on as far as that is possible without waiting.

        Raises:
            RegistryUnavailable, FolderUnavailable: The database or the store cannot be read; it can be called again.
        """
        if self._marker.is_done:
            return
        if self._left is None:
            self._left = self._folder.names() if ALL in self._wanted else list(self._wanted)
        while self._left and self._begin(self._left[0]):
            del self._left[0]
        self._follow()
        if not self._left and not self._under_way:
            self._marker.write()
            _log.info("registered at the start: all that WFMGMT_LOAD_AT_START names, but for what could not be")

    def _begin(self, file: str) -> bool:
        """Have one archive registered unless it is; False when it has to wait until fewer others do."""
        request = RegistrationRequest(url=file)
        key = new_operation(request, _CHANGE).key
        with self._registry.read() as reader:
            other = None if key is None else reader.operations.with_key(key)
            is_used = bool(reader.users_of(ArchiveKind.WORKFLOW, file))
        if other is not None:
            self._under_way[other.uid] = file
        elif not is_used:
            try:
                self._under_way[self._queue.accept(request, _CHANGE).uid] = file
            except TooManyRegistrations:
                return False
            except WfmgmtError as error:
                _record_failure(file, str(error))
        return True

    def _follow(self) -> None:
        """Log what came of those that have ended."""
        with self._registry.read() as reader:
            operations = {uid: reader.operations.get(uid) for uid in islice(self._under_way, _AT_ONCE)}
        for uid, operation in operations.items():
            if operation is None:  # It has ended, and is not kept any more.
                del self._under_way[uid]
            elif operation.state.is_done:
                _record_end(self._under_way.pop(uid), operation)


def _record_end(file: str, operation: Operation) -> None:
    if operation.state is not OperationState.SUCCEEDED:
        _record_failure(file, "it was cancelled" if operation.error is None else operation.error.message)


def _record_failure(file: str, why: str) -> None:
    _log.warning("not registered at the start: %s: %s", file, why)
