"""Sources of downloads that never answer or never end."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from tests.support.processes import MIB


@contextlib.contextmanager
def stalled_source() -> Iterator[tuple[str, Callable[[], int]]]:
    """Run a server that accepts and never answers; give an address there, and what counts those who wait."""
    waiting: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    waiting.append(listener.accept()[0])

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/slow.war", lambda: len(waiting)
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for each in waiting:
                each.close()


@contextlib.contextmanager
def endless_source(size_bytes: int) -> Iterator[str]:
    """Run a server that sends so many bytes to everybody, without saying how many beforehand."""
    part = bytes(MIB)

    def send(client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            client.recv(65536)
            client.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
            for _ in range(size_bytes // MIB):
                client.sendall(part)

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(4) as pool:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    pool.submit(send, listener.accept()[0])

        pool.submit(accept)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/large.war"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
