"""The read end of a pipe to which a process prints."""

import asyncio
import os

_READ_BYTES = 64 * 1024


class LogPipe:
    """Reads a pipe whenever there is something, and gives it to a protocol. For the event loop only.

    It stands in for `loop.connect_read_pipe`: uvloop closes the descriptor of such a pipe twice, and the second time it
    may belong to a file that another thread has opened in between.

    Args:
        descriptor: The read end, which this owns from now on.
        protocol: Receives the data, and `connection_lost` once the pipe has ended or was closed.
    """

    def __init__(self, descriptor: int, protocol: asyncio.Protocol) -> None:
        self._descriptor = descriptor
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        os.set_blocking(descriptor, False)
        self._loop.add_reader(descriptor, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, _READ_BYTES)
        except BlockingIOError:
            return
        if data:
            self._protocol.data_received(data)
        else:
            self.close()

    def close(self) -> None:
        """Stop reading; idempotent."""
        if self._descriptor < 0:
            return
        descriptor, self._descriptor = self._descriptor, -1
        self._loop.remove_reader(descriptor)
        os.close(descriptor)
        self._loop.call_soon(self._protocol.connection_lost, None)
