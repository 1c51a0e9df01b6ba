"""The runtime's end of a worker's socket, over real sockets and both event loops."""

import asyncio
import socket
from collections.abc import Callable

import pytest
import uvloop

from wfmgmt.serving.models.local.channel import Channel, connect

LOOPS = pytest.mark.parametrize(
    "loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)


@LOOPS
def test_sending_to_one_who_is_gone_does_nothing(loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Sending to a dead peer raises nothing, since the end of the channel is reported. Its memory is free."""

    async def send() -> None:
        near, far = socket.socketpair()
        near.settimeout(0)
        channel = await connect(near, Channel())
        far.close()
        with pytest.raises(EOFError):
            await channel.receive()
        assert not channel.is_open
        assert channel.get_buffer(0).nbytes == 0
        channel.send({"op": "stop"})
        channel.send({"op": "predict"}, [b"x" * 100_000])
        channel.close()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(send())
