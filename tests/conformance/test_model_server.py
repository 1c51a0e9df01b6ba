"""Every model server keeps the promises of the protocol."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.factories import make_mar
from tests.support.model_servers import open_servers
from wfmgmt.serving.models.protocol import ModelServer
from wfmgmt.testing import ModelServerConformance, OpenServer, WriteMar


@pytest.fixture
def write_mar(tmp_path: Path) -> WriteMar:
    """Return a function that writes model archives."""
    return lambda name, source: make_mar(tmp_path, file_name=name, source=source)


class TestLocalModelServer(ModelServerConformance):
    """The server with worker processes of this machine."""

    @pytest.fixture
    def open_server(self, tmp_path: Path) -> OpenServer:
        """Return a function that opens a server with a forkserver of its own."""

        @asynccontextmanager
        async def open_server() -> AsyncIterator[ModelServer]:
            async with open_servers(tmp_path / "unpacked") as servers:
                yield servers.models

        return open_server
