"""The servers that the fake TorchServe is compared with: the same tests run over it and over a real one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_torchserve import fake_torchserve
from tests.support.model_servers import open_descriptors, until
from tests.support.real_torchserve import TorchServe
from tests.support.torchserve_client import OpenServer, Server, new_session, write_archives

FAKE_AND_REAL = ["fake", pytest.param("real", marks=pytest.mark.torchserve)]


def opener_of_fakes(store: Path, **options: Any) -> OpenServer:
    """Return a function that opens a fake without models."""
    write_archives(store)

    @asynccontextmanager
    async def open_fake() -> AsyncIterator[Server]:
        async with fake_torchserve(store, **options) as fake, new_session() as session:
            keys = fake.tokens.path if fake.tokens is not None else None
            yield Server(fake.management_url, fake.inference_url, store, session, keys)

    return open_fake


def opener_of(real: TorchServe) -> OpenServer:
    """Return a function that hands out a real server, and removes its models in the end."""
    write_archives(real.model_store)

    @asynccontextmanager
    async def open_real() -> AsyncIterator[Server]:
        descriptors = open_descriptors()
        async with new_session() as session:
            server = Server(real.management, real.inference, real.model_store, session, real.key_file)
            try:
                yield server
            finally:
                await server.remove_models()
        # A connection over which a body was refused has bytes to send, and is closed only when the server closes it.
        await until(lambda: open_descriptors() <= descriptors)

    return open_real


@pytest.fixture(name="open_server", params=FAKE_AND_REAL)
def _open_server(request: pytest.FixtureRequest, tmp_path: Path) -> OpenServer:
    """Return a function that opens a server without models."""
    if request.param == "fake":
        return opener_of_fakes(tmp_path)
    return opener_of(request.getfixturevalue("real_torchserve"))


@pytest.fixture(name="open_guarded", params=FAKE_AND_REAL)
def _open_guarded(request: pytest.FixtureRequest, tmp_path: Path) -> OpenServer:
    """Return a function that opens a server that asks for keys."""
    if request.param == "fake":
        return opener_of_fakes(tmp_path, token_folder=tmp_path)
    return opener_of(request.getfixturevalue("guarded_torchserve"))


@pytest.fixture(name="open_closed", params=FAKE_AND_REAL)
def _open_closed(request: pytest.FixtureRequest, tmp_path: Path) -> OpenServer:
    """Return a function that opens a server whose model API is off."""
    if request.param == "fake":
        return opener_of_fakes(tmp_path, model_api=False)
    return opener_of(request.getfixturevalue("closed_torchserve"))
