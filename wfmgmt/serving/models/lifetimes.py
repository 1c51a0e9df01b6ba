"""From the beginning of a model's load to the end of its unload: what is the same on every model server."""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from wfmgmt.errors import ShuttingDown
from wfmgmt.serving.models.base import Model, ModelAlreadyLoaded, ModelKey

_log = logging.getLogger("wfmgmt.runtime")


class Lifetime(ABC):
    """One model: one load, and no unload that breaks off. For the event loop only.

    It has its key from its construction to the end of its unload.

    Args:
        model: What is loaded.
        lifetimes: The others of its server.
        on_change: Called whenever its status may have changed, and once its key is free.

    Attributes:
        model: What is loaded.
        is_ready: Whether it came up and is not to go.
        is_gone: Whether nothing of it is left here.

    Raises:
        ModelAlreadyLoaded: The key is in use.
        ShuttingDown: The server was closed.
    """

    def __init__(self, model: Model, lifetimes: "Lifetimes[Any]", *, on_change: Callable[[], None]) -> None:
        self.model = model
        self.is_ready = self.is_gone = False
        self._on_change = on_change
        self._lifetimes = lifetimes
        self._loading: asyncio.Task[None] | None = None
        self._unloading: asyncio.Task[None] | None = None
        lifetimes.add(self)

    @abstractmethod
    async def _bring_up(self) -> None:
        """Make it ready; cancelled when it is to be unloaded meanwhile."""

    @abstractmethod
    async def _take_down(self) -> None:
        """Remove all that `_bring_up` has made until now. It should not raise; what it raises is logged."""

    async def load(self) -> None:
        """Bring it up, once; when this raises, nothing of it is left and its key is free.

        Raises:
            ModelNotLoaded: It did not come up.
            ShuttingDown: The server was closed meanwhile.
        """
        self._loading = asyncio.create_task(self._load())
        try:
            await asyncio.wait({self._loading})
            _raise_failure(self._loading)
        except BaseException:
            await self.unload()
            raise

    async def _load(self) -> None:
        await self._bring_up()
        self.is_ready = self._unloading is None  # It may have come up just when its unload began.

    async def unload(self) -> None:
        """Take it down; this goes on when the caller is cancelled. Idempotent."""
        if self.is_gone:
            return
        if self._unloading is None:
            self.is_ready = False
            self._unloading = asyncio.create_task(self._unload())
        await asyncio.shield(self._unloading)

    async def _unload(self) -> None:
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.gather(self._loading, return_exceptions=True)
        try:
            await self._take_down()
        except Exception:  # noqa: BLE001 - a key that is kept for ever helps no one, and the log has the reason
            key = self.model.key
            _log.error("%s of registration %s was not taken down wholly", key.node, key.uid, exc_info=True)
        finally:
            self._lifetimes.remove(self)
            self.abandon()
            self._on_change()

    def abandon(self) -> None:
        """Forget it here, even if something of it is left elsewhere."""
        self.is_ready, self.is_gone = False, True


L = TypeVar("L", bound=Lifetime)


class Lifetimes(Generic[L]):
    """The models of one server, each from the beginning of its load to the end of its unload. For the event loop only.

    Iteration gives those of the moment in which it begins.
    """

    def __init__(self) -> None:
        self._by_key: dict[ModelKey, L] = {}
        self._is_closed = False

    def __iter__(self) -> Iterator[L]:
        return iter(list(self._by_key.values()))

    def add(self, lifetime: L) -> None:
        """Give a model its key.

        Raises:
            ModelAlreadyLoaded: The key is in use.
            ShuttingDown: `close` was called.
        """
        key = lifetime.model.key
        if self._is_closed:
            raise ShuttingDown("the model server is stopping")
        if key in self._by_key:
            raise ModelAlreadyLoaded(key)
        self._by_key[key] = lifetime

    def remove(self, lifetime: L) -> None:
        """Free the key of a model."""
        self._by_key.pop(lifetime.model.key, None)

    async def close(self, *, leave_ready: bool = False) -> None:
        """Refuse later loads, and unload everything, or abandon what is ready and unload the rest."""
        self._is_closed = True
        ready = [each for each in self if leave_ready and each.is_ready]
        await asyncio.gather(*(each.unload() for each in self if each not in ready))
        for each in ready:
            each.abandon()
        self._by_key.clear()


def _raise_failure(loading: asyncio.Task[None]) -> None:
    """Raise what went wrong with a load that is over."""
    if loading.cancelled():
        raise ShuttingDown("the model server is stopping")
    loading.result()
