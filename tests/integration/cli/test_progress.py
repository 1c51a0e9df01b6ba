"""What a command says on a terminal while it waits."""

import os
import pty
import subprocess
import sys
import threading

from tests.support.fake_service import FakeService, Reply, Request


def test_terminal_shows_what_is_waited_for_until_it_is_done() -> None:
    """On standard error alone; the line is gone in the end."""
    seen = threading.Event()

    def respond(_: Request) -> Reply:
        seen.wait(30)
        return Reply(body={"status": "done"})

    terminal, other_side = pty.openpty()
    try:
        with FakeService(respond) as service:
            command = [sys.executable, "-m", "wfmgmt.cli.main", "unregister", "seq", "--url", service.url]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=other_side)
            os.close(other_side)
            printed = b""
            while chunk := _read(terminal):
                printed += chunk
                if b"waiting for unregister" in printed:
                    seen.set()
            out, _ = process.communicate(timeout=30)
    finally:
        os.close(terminal)
    assert (process.returncode, out) == (0, b"done\n")
    assert printed.endswith(b"\r\x1b[K")


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # The other side is closed.
        return b""
