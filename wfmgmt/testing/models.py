"""What the suites for model servers are made with."""

import asyncio
import functools
import hashlib
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, ParamSpec, Protocol

from wfmgmt.serving.models.base import Model, ModelServer

P = ParamSpec("P")

OpenServer = Callable[[Callable[[str], None]], AbstractAsyncContextManager[ModelServer]]

GOOD_HANDLER = """
def handle(data, context):
    return data
"""


class WriteMar(Protocol):
    """Writes a model archive for a suite."""

    def __call__(self, name: str, source: str) -> Path:
        """Write an archive of this file name with one handler module of this source, and return its path."""


def in_event_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Make a test of a coroutine function; each run has an event loop of its own."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


def make_model(archive: Path, **overrides: Any) -> Model:  # noqa: ANN401 - any attribute of a model
    """Return a model that is loaded from this archive."""
    values = {
        "name": "w__m",
        "workflow": "w",
        "node": "m",
        "archive": archive,
        "archive_sha256": hashlib.sha256(archive.read_bytes()).hexdigest() if archive.exists() else "0" * 64,
        "min_workers": 1,
        "max_workers": 4,
        "batch_size": 1,
        "max_batch_delay_ms": 0,
        "timeout_ms": 10_000,
        "startup_timeout_s": 30.0,
    }
    return Model(**{**values, **overrides})


def ignore(_name: str) -> None:
    """Take note of nothing."""
