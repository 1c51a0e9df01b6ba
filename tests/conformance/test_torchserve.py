"""A model server that drives TorchServe keeps the promises of the protocol: over the fake, and over a real one."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import requests

from tests.support.factories import make_mar
from tests.support.real_torchserve import TorchServe
from tests.support.torchserve_servers import address_of, open_both, open_torchserve_models
from wfmgmt.serving.models.protocol import ModelServer
from wfmgmt.testing import ModelServerConformance, OpenServer, ServerTraits, WriteMar

#: TorchServe keeps a handler's words to its own log.
TRAITS = ServerTraits(
    failed_load="failed to start workers for model w__m",
    failed_scale="failed to start workers for model w__m",
    raised="Prediction failed",
    miscounted="number of batch response mismatched",
    unsendable="Unsupported model output data type.",
    keeps_request_ids=False,
    shows_workers=False,
    tells_batch_sizes=False,
    shields_batches=False,
    avoids_workers=False,
    changes_settings=False,
)


def remove_models(server: TorchServe) -> None:
    """Remove all models of a server, which keeps them when its client closes."""
    models = f"{server.management}/models"
    for model in requests.get(models, timeout=30).json()["models"]:
        assert requests.delete(f"{models}/{model['modelName']}", timeout=30).ok


class TestOverFakeTorchServe(ModelServerConformance):
    """The server over a fake that runs handlers for real."""

    traits = TRAITS

    @pytest.fixture
    def write_mar(self, tmp_path: Path) -> WriteMar:
        """Return a function that writes archives into the model store."""
        return lambda name, source: make_mar(tmp_path, file_name=name, source=source)

    @pytest.fixture
    def open_server(self, tmp_path: Path) -> OpenServer:
        """Return a function that opens a server over a fake of its own."""

        @asynccontextmanager
        async def open_server() -> AsyncIterator[ModelServer]:
            async with open_both(tmp_path) as (server, _):
                yield server

        return open_server


@pytest.mark.torchserve
class TestOverRealTorchServe(ModelServerConformance):
    """The server over a real TorchServe, which all tests share."""

    # It knows the name of a header only as it was sent.
    traits = dataclasses.replace(TRAITS, folds_header_names=False)

    @pytest.fixture
    def write_mar(self, real_torchserve: TorchServe) -> WriteMar:
        """Return a function that writes archives into the model store."""
        return lambda name, source: make_mar(real_torchserve.model_store, file_name=name, source=source)

    @pytest.fixture
    def open_server(self, real_torchserve: TorchServe) -> OpenServer:
        """Return a function that opens a server over the shared TorchServe, and removes what it leaves there."""

        @asynccontextmanager
        async def open_server() -> AsyncIterator[ModelServer]:
            address, store = address_of(real_torchserve), real_torchserve.model_store
            async with open_torchserve_models(store, address) as server:
                yield server
            await asyncio.to_thread(remove_models, real_torchserve)

        return open_server
