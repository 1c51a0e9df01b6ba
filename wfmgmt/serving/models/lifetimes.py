"""What a model server has loaded under which name, from the beginning of each load to the end of its unload."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Generic, TypeVar

from wfmgmt.errors import ShuttingDown
from wfmgmt.serving.models.base import ModelAlreadyLoaded, ModelNotLoaded

T = TypeVar("T")

_log = logging.getLogger("wfmgmt.runtime")


class _Lifetime(Generic[T]):
    """One name.

    Attributes:
        item: What has it.
        loading: Brings it up.
        unloading: Takes it down; None while nobody wants that.
    """

    loading: asyncio.Task[None]

    def __init__(self, item: T) -> None:
        self.item = item
        self.unloading: asyncio.Task[None] | None = None


class Lifetimes(Generic[T]):
    """Names and what has them: one load at a time for each, no unload that breaks off. For the event loop only.

    Args:
        bring_up: Makes an item ready; cancelled when it is to be unloaded meanwhile.
        take_down: Takes down whatever is there of an item. It should not raise; what it raises is logged.
        on_change: Called with a name once it is free.
    """

    def __init__(
        self,
        *,
        bring_up: Callable[[T], Awaitable[None]],
        take_down: Callable[[T], Awaitable[None]],
        on_change: Callable[[str], None],
    ) -> None:
        self._bring_up = bring_up
        self._take_down = take_down
        self._on_change = on_change
        self._lifetimes: dict[str, _Lifetime[T]] = {}
        self._is_closed = False

    def __iter__(self) -> Iterator[T]:
        return iter([lifetime.item for lifetime in self._lifetimes.values()])

    def find(self, name: str) -> T | None:
        """Return what has a name, be it ready or not."""
        lifetime = self._lifetimes.get(name)
        return None if lifetime is None else lifetime.item

    def find_ready(self, name: str) -> T | None:
        """Return what has a name once it is ready, and as long as nobody wants it to go."""
        lifetime = self._lifetimes.get(name)
        if lifetime is None or lifetime.unloading is not None or not lifetime.loading.done():
            return None
        return lifetime.item

    async def load(self, name: str, node: str, item: T) -> None:
        """Bring something up under a name; whatever this raises, nothing is left and the name is free.

        Raises:
            ModelAlreadyLoaded: The name is in use.
            ModelNotLoaded: `unload` was called meanwhile.
            ShuttingDown: `close` was called.
        """
        if self._is_closed:
            raise ShuttingDown("the model server is stopping")
        if name in self._lifetimes:
            raise ModelAlreadyLoaded(name)
        lifetime = self._lifetimes[name] = _Lifetime(item)
        lifetime.loading = asyncio.ensure_future(self._run(item))
        try:
            await asyncio.wait({lifetime.loading})
            _raise_failure(lifetime.loading, node)
        except BaseException:
            await self._end(name, lifetime)
            raise

    async def _run(self, item: T) -> None:
        await self._bring_up(item)

    async def unload(self, name: str) -> None:
        """Take down what has a name; this goes on when the caller is cancelled."""
        lifetime = self._lifetimes.get(name)
        if lifetime is not None:
            await self._end(name, lifetime)

    async def close(self, *, leave_ready: bool = False) -> None:
        """Refuse later loads, and unload everything, or only what is not ready yet; all names are free afterwards."""
        self._is_closed = True
        ending = [
            self._end(name, lifetime)
            for name, lifetime in self._lifetimes.items()
            if not (leave_ready and lifetime.loading.done())
        ]
        await asyncio.gather(*ending)
        self._lifetimes.clear()

    async def _end(self, name: str, lifetime: _Lifetime[T]) -> None:
        if lifetime.unloading is None:
            lifetime.unloading = asyncio.create_task(self._finish(name, lifetime))
        await asyncio.shield(lifetime.unloading)

    async def _finish(self, name: str, lifetime: _Lifetime[T]) -> None:
        lifetime.loading.cancel()
        await asyncio.gather(lifetime.loading, return_exceptions=True)
        try:
            await self._take_down(lifetime.item)
        except Exception:  # noqa: BLE001 - a name that is kept for ever helps nobody, and the log has the reason
            _log.error("%s was not taken down wholly", name, exc_info=True)
        finally:
            self._lifetimes.pop(name, None)
            self._on_change(name)


def _raise_failure(loading: asyncio.Task[None], node: str) -> None:
    """Raise what went wrong with a load that is over."""
    if loading.cancelled():
        raise ModelNotLoaded(node, "it was unloaded while it was loading")
    loading.result()
