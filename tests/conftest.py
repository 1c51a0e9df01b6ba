"""The real TorchServe that some tests need, and who has to do without."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.real_torchserve import VENV, TorchServe, missing

MARKER = "torchserve"
#: It has little to do here, and other tests may run beside it.
SMALL = {"vmargs": "-Xmx256m", "disable_system_metrics": "true"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what needs a real TorchServe, unless it was asked for by its marker: then there has to be one."""
    concerned = [item for item in items if MARKER in item.keywords]
    reason = missing()
    if MARKER in config.option.markexpr.split():
        if concerned and reason is not None:
            raise pytest.UsageError(reason)
        return
    for item in concerned:
        item.add_marker(pytest.mark.skip(reason=reason or "make test-torchserve runs it"))


@dataclass(frozen=True)
class RealTorchServe:
    """A TorchServe that several tests share.

    Attributes:
        server: The server.
        store: Its model store.
    """

    server: TorchServe
    store: Path


@pytest.fixture(scope="session")
def real_torchserve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealTorchServe]:
    """Run a TorchServe without tokens; whoever registers a model there removes it."""
    yield from _run(tmp_path_factory)


@pytest.fixture(scope="session")
def guarded_torchserve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealTorchServe]:
    """Run a TorchServe that asks for tokens."""
    yield from _run(tmp_path_factory, token_authorization=True)


@pytest.fixture(scope="session")
def closed_torchserve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealTorchServe]:
    """Run a TorchServe whose model API is off."""
    yield from _run(tmp_path_factory, model_api=False)


def _run(
    tmp_path_factory: pytest.TempPathFactory, *, token_authorization: bool = False, model_api: bool = True
) -> Iterator[RealTorchServe]:
    folder = tmp_path_factory.mktemp("torchserve")
    store = folder / "model_store"
    store.mkdir()
    options = {"token_authorization": token_authorization, "model_api": model_api}
    with TorchServe(VENV, folder / "run", model_store=store, settings=SMALL, **options) as server:
        yield RealTorchServe(server, store)
