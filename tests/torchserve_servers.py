"""TorchServe model servers over fake TorchServes, for tests."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tests.fake_torchserve import FakeTorchServe, fake_torchserve
from wfmgmt.archives.reading import sha256_of
from wfmgmt.serving.models.torchserve.keys import Keys, KeySet
from wfmgmt.serving.models.torchserve.server import ServerAddress, TorchServeModelServer, TorchServeSettings

IDENTITY = "0123456789ab"
T = TypeVar("T")


def address_of(fake: Any, key_file: Path | None = None) -> ServerAddress:
    """Return where a TorchServe is."""
    return ServerAddress(
        management_url=fake.management_url, inference_url=fake.inference_url, keys=Keys(KeySet(), key_file)
    )


@asynccontextmanager
async def open_torchserve_models(
    store: Path,
    *addresses: ServerAddress,
    on_change: Callable[[str], None] = lambda _: None,
    on_forgotten: Callable[[], None] = lambda: None,
    **overrides: Any,
) -> AsyncIterator[TorchServeModelServer]:
    """Give a model server over these servers, and close it at the end."""
    settings = TorchServeSettings(servers=addresses, model_store=store, **{"identity": IDENTITY, **overrides})
    server = TorchServeModelServer(settings, digest=sha256_of, on_change=on_change, on_forgotten=on_forgotten)
    try:
        yield server
    finally:
        await server.close()


@asynccontextmanager
async def open_both(
    store: Path,
    *,
    fakes: int = 1,
    **overrides: Any,
) -> AsyncIterator[tuple[TorchServeModelServer, list[FakeTorchServe]]]:
    """Give a model server and the fakes that it uses."""
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(fake_torchserve(store)) for _ in range(fakes)]
        models = open_torchserve_models(store, *map(address_of, opened), **overrides)
        yield await stack.enter_async_context(models), opened


class RunningFake:
    """A fake that runs in a thread of its own, for tests that are no coroutines.

    Attributes:
        fake: The fake; its methods that are no coroutines only read or set, and may be called from any thread.
        store: Folder of its archives.
    """

    def __init__(self, fake: FakeTorchServe, store: Path, loop: asyncio.AbstractEventLoop) -> None:
        self.fake = fake
        self.store = store
        self._loop = loop

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run one of its coroutines and return what it returns."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=30)

    @property
    def settings(self) -> dict[str, object]:
        """Return what makes a deployment use it."""
        return {
            "model_server": "torchserve",
            "torchserve_management_urls": self.fake.management_url,
            "torchserve_inference_urls": self.fake.inference_url,
        }

    def held(self) -> list[str]:
        """Return the names of its models."""
        return [model["modelName"] for model in self.fake.registry.page({})["models"]]


@contextmanager
def running_fake(store: Path) -> Iterator[RunningFake]:
    """Run a fake in a thread until the end."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="fake-torchserve")
    thread.start()
    opened = fake_torchserve(store)
    try:
        fake = asyncio.run_coroutine_threadsafe(opened.__aenter__(), loop).result(timeout=30)
        try:
            yield RunningFake(fake, store, loop)
        finally:
            asyncio.run_coroutine_threadsafe(opened.__aexit__(None, None, None), loop).result(timeout=30)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=30)
        loop.close()
