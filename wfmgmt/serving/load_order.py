"""The order of loads: workflows that hang or fail do not delay those that come up."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path

from wfmgmt.folders import read_file

_log = logging.getLogger("wfmgmt.runtime")

#: Slots of the first lane, and loads that may go on in it at a time, those that gave their slots back included.
FIRST_LANE = (4, 64)
#: The same of the lane for workflows whose last load failed or hung.
LAST_LANE = (2, 16)
#: How long a load may keep its slot: twice the time that it took last, and a second, but no longer than this.
MAX_HOLD_S = 10.0
#: The least time between two writes of the history.
_SAVE_PAUSE_S = 0.2
#: The longest history that is read.
_MAX_BYTES = 16 * 1024 * 1024
#: What a load is taken to last of which nothing is known.
_UNKNOWN_S = 2.0


class LoadHistory:
    """How the last load of each workflow went, kept in a file for the next runtime. For the event loop only.

    It is a hint and no more: without the file, or with a damaged one, everything is loaded in the order of names.

    Args:
        path: The file: a JSON object, identity of the registration to the seconds that its load took, null for one that
            failed or takes longer than it should.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seconds: dict[str, float | None] = {}
        self._news = asyncio.Event()
        with contextlib.suppress(OSError, TypeError, ValueError, RecursionError):
            self._seconds = _checked(json.loads(read_file(path, _MAX_BYTES) or b"{}"))

    def has_failed(self, uid: str) -> bool:
        """Return whether the last load of a workflow is known to have failed or hung."""
        return uid in self._seconds and self._seconds[uid] is None

    def hold_s(self, uid: str) -> float:
        """Return for how long a load of a workflow may keep its slot."""
        return min(MAX_HOLD_S, 2 * (self._seconds.get(uid) or _UNKNOWN_S) + 1)

    def record(self, uid: str, took_s: float | None) -> None:
        """Record how a load went: how long it took, or None when it failed or takes longer than it should."""
        if uid not in self._seconds or took_s != self._seconds[uid]:
            self._seconds[uid] = took_s
            self._news.set()

    def uids(self) -> Collection[str]:
        """Return the workflows of which something is known."""
        return self._seconds.keys()

    def forget(self, uid: str) -> None:
        """Drop what is known of a workflow that is gone."""
        self._seconds.pop(uid, None)

    async def save(self) -> None:
        """Write the file if something changed."""
        if not self._news.is_set():
            return
        self._news.clear()
        try:
            await asyncio.to_thread(self._write, json.dumps(self._seconds))
        except OSError as error:
            _log.warning("the order of loading cannot be saved: %s", error.strerror)

    async def keep_saved(self) -> None:
        """Write the file whenever something changed, for ever."""
        while True:
            await self._news.wait()
            await self.save()
            await asyncio.sleep(_SAVE_PAUSE_S)

    def _write(self, text: str) -> None:
        unfinished = self._path.with_suffix(".unfinished")
        unfinished.write_text(text, encoding="ascii")
        unfinished.replace(self._path)


def _checked(values: object) -> dict[str, float | None]:
    """Return the values of a file; a `TypeError` or `ValueError` says that they are something else."""
    if not isinstance(values, dict):
        raise TypeError("not an object")
    return {str(uid): None if took_s is None else float(took_s) for uid, took_s in values.items()}


class Lane:
    """Lets loads begin, a few at a time. For the event loop only.

    A slot is meant for unpacking, forking and as much of the initialisation as there should be. A load that takes
    longer gives its slot to the next one and goes on: waiting costs no processor. Their number is bounded, too.

    Args:
        slots: Loads that have a slot, at most.
        max_loads: Loads that go on, at most.
    """

    def __init__(self, slots: int, max_loads: int) -> None:
        self._slots = asyncio.Semaphore(slots)
        self._loads = asyncio.Semaphore(max_loads)
        self._queued = 0
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    async def wait_until_idle(self) -> None:
        """Return when no load has a slot or waits for one."""
        await self._is_idle.wait()

    @asynccontextmanager
    async def turn(self, hold_s: float, on_late: Callable[[], None]) -> AsyncIterator[None]:
        """Wait for a slot and keep it while the block runs, but for `hold_s` at most.

        Args:
            hold_s: Seconds.
            on_late: Called when the slot is taken away.
        """
        self._queued += 1
        self._is_idle.clear()
        with contextlib.ExitStack() as leaving:
            leaving.callback(self._leave)
            async with self._loads:
                await self._slots.acquire()
                leaving.callback(self._slots.release)
                timer = asyncio.get_running_loop().call_later(hold_s, _take_away, leaving, on_late)
                try:
                    yield
                finally:
                    timer.cancel()

    def _leave(self) -> None:
        self._queued -= 1
        if not self._queued:
            self._is_idle.set()


def _take_away(leaving: contextlib.ExitStack, on_late: Callable[[], None]) -> None:
    on_late()
    leaving.close()
