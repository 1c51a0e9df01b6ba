"""What some tests need that is installed on request, like a real TorchServe, and how properties are tested."""

import gc
import os
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from tests.support import example_real
from tests.support import real_torchserve as torchserve
from tests.support.real_torchserve import SMALL, VENV, TorchServe
from wfmgmt.domain.threads import THREAD_VARIABLES

#: What needs something that is installed on request: by marker, what says that it is missing.
_ON_REQUEST = {"torchserve": torchserve.missing, "example_real": example_real.missing}

# What pytest makes of the tests is kept, also where PYTHONDONTWRITEBYTECODE is set: it takes seconds in each process.
sys.dont_write_bytecode = False

# Some shells set these for all programs, and then they decide about the threads of workers.
for variable in THREAD_VARIABLES:
    os.environ.pop(variable, None)

# How long an example takes says how busy the machine is; speed is measured in `benchmarks`.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

#: These tests share a deployment, so one process runs them all.
_SHARED = "tests/acceptance/shared/"


class _Scheduling(LoadFileScheduling):
    """Hands out the tests by file, but for those that share a deployment."""

    def _split_scope(self, nodeid: str) -> str:
        return _SHARED if nodeid.startswith(_SHARED) else super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling:
    """Return what hands out the tests to several processes."""
    return _Scheduling(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the garbage collector off thousands of tests, which all stay: it takes a fifth of their collection."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what has a marker of the table, unless its marker was asked for: then what it needs has to be there."""
    for marker, missing in _ON_REQUEST.items():
        # The marker itself: among the keywords of a test are also the names of its folders.
        concerned = [item for item in items if item.get_closest_marker(marker) is not None]
        reason = missing()
        if config.option.markexpr.strip() != marker:
            for item in concerned:
                item.add_marker(pytest.mark.skip(reason=reason or f"make test-{marker.replace('_', '-')} runs it"))
        elif concerned and reason is not None:
            raise pytest.UsageError(reason)


@pytest.fixture(scope="session")
def real_torchserve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServe]:
    """Run a TorchServe without tokens; a test that registers a model there removes it."""
    with TorchServe(VENV, *_folders(tmp_path_factory), settings=SMALL) as server:
        yield server


@pytest.fixture(scope="session")
def guarded_torchserve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServe]:
    """Run a TorchServe that asks for tokens."""
    with TorchServe(VENV, *_folders(tmp_path_factory), settings=SMALL, token_authorization=True) as server:
        yield server


@pytest.fixture(scope="session")
def closed_torchserve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServe]:
    """Run a TorchServe whose model API is off."""
    with TorchServe(VENV, *_folders(tmp_path_factory), settings=SMALL, model_api=False) as server:
        yield server


def _folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a folder for a server, and one with its models."""
    folder = tmp_path_factory.mktemp("torchserve")
    (folder / "model_store").mkdir()
    return folder / "run", folder / "model_store"
