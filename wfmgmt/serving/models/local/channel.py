"""The runtime's end of a socket that carries frames."""

import asyncio
import contextlib
import math
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from wfmgmt.serving.models.local import frames

#: Messages that may lie unread; the other side sends so many, or one with a payload, only when it is not to be trusted.
_MAX_UNREAD = 10_000

Item = frames.Frame | Exception


class Channel(asyncio.BufferedProtocol):
    """Sends frames, and gives those that arrive one by one to the callback that expects them.

    After the last frame comes an `EOFError`, or an `InvalidFrame` where the bytes stopped being messages; the channel
    is closed then.

    Attributes:
        transport: What it is connected to.
        is_open: Whether the other side is still there, as far as is known.
        answered_at: When the last message arrived, in monotonic seconds.
        ended: Done when it is not.
    """

    transport: asyncio.Transport

    def __init__(self, max_payload_bytes: int = frames.MAX_PAYLOAD_BYTES) -> None:
        self.is_open = True
        self.answered_at = -math.inf
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ended_awaited = False
        self._decoder = frames.Decoder(max_payload_bytes)
        self._unread: deque[Item] = deque()
        self._unsent: list[bytes | bytearray] = []
        self._expecting: Callable[[Item], None] | None = None

    @property
    def has_unread(self) -> bool:
        """Whether something arrived that was not expected, be it a part of a message."""
        return bool(self._unread) or self._decoder.is_within_message

    @property
    def is_awaited(self) -> bool:
        """Whether the other side was working when it was heard of last: its answer is, or was, awaited."""
        return self._expecting is not None or self._ended_awaited

    def send(self, header: Mapping[str, Any], payload: Sequence[bytes | bytearray] = ()) -> None:
        """Send one message; when the other side is gone, the channel ends.

        Raises:
            InvalidFrame: The message is too long; nothing was sent.
        """
        size_bytes = sum(map(len, payload))
        start = frames.encode(header, size_bytes)
        if not self.is_open:
            return  # Some transports raise when they are written to after their end.
        if size_bytes <= frames.JOINED_BYTES:
            self.transport.write(b"".join((start, *payload)))
            return
        for part in (start, *payload):
            self.transport.write(part)

    def _flush(self) -> None:
        """Send what has gathered while the loop handled what it found: one system call, and one awakening."""
        if self._unsent:
            self.transport.write(b"".join(self._unsent))
            self._unsent.clear()

    def expect(self, callback: Callable[[Item], None]) -> None:
        """Have the next frame, or what ended the channel, given to `callback`, now or later. One at a time."""
        if self._unread:
            callback(self._unread.popleft())
        else:
            self._expecting = callback

    async def receive(self) -> frames.Frame:
        """Wait for the next frame.

        Raises:
            EOFError: The other side is gone.
            InvalidFrame: It sent something that is no message.
        """
        arrived: asyncio.Future[Item] = asyncio.get_running_loop().create_future()
        self.expect(lambda item: None if arrived.done() else arrived.set_result(item))
        item = await arrived
        if isinstance(item, Exception):
            self._unread.append(item)  # It stays true for the next call.
            raise item
        return item

    def close(self) -> None:
        """Close the socket once what was sent has left."""
        self._flush()
        self.transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self.transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where to put what arrives."""
        del sizehint
        return self._decoder.buffer()

    def buffer_updated(self, nbytes: int) -> None:
        """Give away the messages that are whole now."""
        try:
            for frame in self._decoder.received(nbytes):
                self.answered_at = time.monotonic()
                self._give(frame)
        except frames.InvalidFrame as error:
            self._end(error)
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Publish the end: nothing more will come."""
        if exc is not None:
            self._read_rest()
        self._end(EOFError())
        self._decoder.close()

    def _read_rest(self) -> None:
        """Take in what the other side said before it went: a transport that cannot send does not look for it."""
        fd = self.transport.get_extra_info("socket").fileno()
        with contextlib.suppress(OSError):
            while self.is_open and (size := os.readv(fd, [self.get_buffer(0)])):
                self.buffer_updated(size)

    def _end(self, why: Exception) -> None:
        if self.is_open:
            self.is_open = False
            self._ended_awaited = self._expecting is not None
            self.ended.set_result(None)
            self._give(why)

    def _give(self, item: Item) -> None:
        if self._expecting is not None:
            callback, self._expecting = self._expecting, None
            callback(item)
        elif len(self._unread) < _MAX_UNREAD and not (isinstance(item, frames.Frame) and item.payload):
            self._unread.append(item)
        else:
            self.transport.abort()


async def connect(sock: socket.socket, channel: Channel) -> Channel:
    """Run a channel on a connected Unix socket, which belongs to it from then on."""
    await asyncio.get_running_loop().create_unix_connection(lambda: channel, sock=sock)
    return channel
