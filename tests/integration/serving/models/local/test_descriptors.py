"""Messages that carry file descriptors, over a real socket."""

import os
import socket
from collections.abc import Iterator

import pytest

from wfmgmt.serving.models.local import frames


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Return two sockets that are connected to each other."""
    near, far = socket.socketpair()
    with near, far:
        yield near, far


def send_with_pipe(sock: socket.socket, header: dict[str, object], text: bytes) -> None:
    """Send a message with the read end of a pipe that holds this text."""
    read_fd, write_fd = os.pipe()
    os.write(write_fd, text)
    os.close(write_fd)
    socket.send_fds(sock, [frames.encode(header)], [read_fd])
    os.close(read_fd)


def test_receive_with_fds_gives_each_message_its_own(ends: tuple[socket.socket, socket.socket]) -> None:
    """Descriptors come with the message they were sent with, also when messages without any stand between."""
    near, far = ends
    send_with_pipe(near, {"id": 1}, b"first")
    frames.send(near, {"id": 2}, [b"payload"])
    send_with_pipe(near, {"id": 3}, b"third")
    received = [frames.receive_with_fds(far, 2) for _ in range(3)]
    assert [frame.header["id"] for frame, _ in received] == [1, 2, 3]
    contents = [[os.read(fd, 100) for fd in fds] for _, fds in received]
    for _, fds in received:
        for fd in fds:
            os.close(fd)
    assert contents == [[b"first"], [], [b"third"]]


def test_receive_with_fds_ends_with_eof_when_the_other_side_is_gone(ends: tuple[socket.socket, socket.socket]) -> None:
    """The end of the stream is reported as on every socket."""
    near, far = ends
    near.close()
    with pytest.raises(EOFError):
        frames.receive_with_fds(far, 2)
