"""A fake in a thread of its own, for tests that block: of the whole service, which is another process."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tests.support.fake_torchserve.server import FakeTorchServe, fake_torchserve

T = TypeVar("T")
_CALL_S = 30.0


class BackgroundFake:
    """A fake that runs in the event loop of another thread.

    Attributes:
        management_url: Where models are registered.
        inference_url: Where predictions are made.

    Args:
        fake: The fake.
        loop: Its event loop.
    """

    def __init__(self, fake: FakeTorchServe, loop: asyncio.AbstractEventLoop) -> None:
        self.management_url = fake.management_url
        self.inference_url = fake.inference_url
        self._fake = fake
        self._loop = loop

    def tell(self, act: Callable[[FakeTorchServe], T]) -> T:
        """Have the fake do something in its event loop, and return the result."""

        async def run() -> T:
            return act(self._fake)

        return self._wait(run())

    def have(self, act: Callable[[FakeTorchServe], Coroutine[Any, Any, T]]) -> T:
        """Have the fake do something that takes time, and return the result."""
        return self._wait(act(self._fake))

    def _wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_CALL_S)


@contextmanager
def fake_torchserve_in_background(model_store: Path, **options: Any) -> Iterator[BackgroundFake]:
    """Run a fake in another thread; the options are those of `fake_torchserve`."""
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        thread = threading.Thread(target=loop.run_forever, name="fake-torchserve")
        thread.start()
        opened = fake_torchserve(model_store, **options)
        try:
            fake = asyncio.run_coroutine_threadsafe(opened.__aenter__(), loop).result(_CALL_S)
            try:
                yield BackgroundFake(fake, loop)
            finally:
                asyncio.run_coroutine_threadsafe(opened.__aexit__(None, None, None), loop).result(_CALL_S)
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(_CALL_S)
