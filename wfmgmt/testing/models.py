"""Values and helpers that the suites for model servers share."""

import asyncio
import functools
import hashlib
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, ParamSpec, Protocol

from wfmgmt.domain.workflow import SETTINGS, NodeSettings
from wfmgmt.serving.models.base import Model, ModelKey
from wfmgmt.serving.models.protocol import LoadedModel, ModelServer

P = ParamSpec("P")

OpenServer = Callable[[], AbstractAsyncContextManager[ModelServer]]

GOOD_HANDLER = """
def handle(data, context):
    return data
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTraits:
    """What a server can do and say that others, which run models by way of something else, cannot.

    The reasons are parts of those of its errors. By default a server can do everything and uses the handler's words.

    Attributes:
        failed_load: Reason when `initialize` raises `ValueError("bad weights")`.
        failed_scale: Reason when a further worker fails with `FileExistsError`.
        raised: Reason when a handler raises `ValueError("bad weather")`.
        miscounted: Reason when a handler returns two answers to one request.
        unsendable: Reason when a handler returns something that has no bytes.
        keeps_request_ids: Whether handlers get the identity of the client's request.
        folds_header_names: Whether handlers find a header by its name in any case.
        tells_batch_sizes: Whether an answer says how many requests were handed over together.
        shields_batches: Whether a request that terminates its worker fails alone when it shared a batch.
        avoids_workers: Whether an error says which worker failed, and another attempt can be kept from it.
        changes_settings: Whether a loaded model can get other settings.
        shows_workers: Whether its workers are processes of this machine.
    """

    failed_load: str = "ValueError: bad weights"
    failed_scale: str = "FileExistsError"
    raised: str = "ValueError: bad weather"
    miscounted: str = "it returned a list of 2 answers to 1 requests"
    unsendable: str = "its answer cannot be sent: TypeError: Object of type object is not JSON serializable"
    keeps_request_ids: bool = True
    folds_header_names: bool = True
    tells_batch_sizes: bool = True
    shields_batches: bool = True
    avoids_workers: bool = True
    changes_settings: bool = True
    shows_workers: bool = True


class Suite:
    """What every suite for model servers has.

    Attributes:
        traits: What the server at hand can do; a subclass for one that cannot do everything says so.
    """

    traits: ClassVar[ServerTraits] = ServerTraits()


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


def make_model(archive: Path, **overrides: Any) -> Model:  # noqa: ANN401 - any attribute of a model, its key or settings
    """Return a model that is loaded from this archive: node `m` of workflow `w`, unless given otherwise."""
    key = ModelKey(uid=overrides.pop("uid", "uid1"), node=overrides.pop("node", "m"))
    settings = {"max_workers": 4, "max_batch_delay_ms": 0}
    settings |= {each.field: overrides.pop(each.field) for each in SETTINGS if each.field in overrides}
    values = {
        "key": key,
        "workflow": "w",
        "archive": archive,
        "archive_sha256": hashlib.sha256(archive.read_bytes()).hexdigest() if archive.exists() else "0" * 64,
        "settings": NodeSettings(**settings),
        "startup_timeout_s": 30.0,
    }
    return Model(**{**values, **overrides})


def ignore() -> None:
    """Do nothing about a change."""


async def load(server: ModelServer, archive: Path, **overrides: Any) -> LoadedModel:  # noqa: ANN401 - as `make_model`
    """Load a model from this archive whose changes are of no interest; see `make_model`."""
    return await server.load(make_model(archive, **overrides), on_change=ignore)
