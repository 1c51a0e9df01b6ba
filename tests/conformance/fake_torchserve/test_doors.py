"""The doors of the fake TorchServe leave no connection behind."""

import asyncio
import contextlib
import gc
import socket

import pytest
from aiohttp import web

from tests.support.fake_torchserve.doors import Doors


@pytest.mark.parametrize("rounds", range(5))
@pytest.mark.filterwarnings("error")
def test_connection_that_comes_while_the_doors_close_is_closed(rounds: int) -> None:
    """However far the loop is with accepting a connection, its client sees its end."""

    async def connect_and_close() -> socket.socket:
        doors = Doors(web.Application())
        await doors.open()
        client = socket.create_connection(("127.0.0.1", int(doors.url.rpartition(":")[2])), 10)
        for _ in range(rounds):
            await asyncio.sleep(0)
        await doors.close()
        return client

    with asyncio.run(connect_and_close()) as client:
        gc.collect()
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""
