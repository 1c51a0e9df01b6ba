"""What commands say on a terminal, and elsewhere, while they wait."""

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.fake_service import FakeService, Reply, Request
from tests.support.operation_answers import OPERATION, SUCCEEDED
from wfmgmt.cli.remote.progress import Step

CLEAR = b"\r\x1b[K"
UID = OPERATION["id"]
#: After these the next answer says something else.
HALF = {**OPERATION, "progress": {"bytes": 3 * 1024**2, "totalBytes": 6 * 1024**2, "nodes": {}}}
LATER = {**OPERATION, "progress": {"bytes": 5 * 1024**2, "totalBytes": 6 * 1024**2, "nodes": {}}}


@contextlib.contextmanager
def on_terminal(
    *arguments: str, columns: int = 80, **environment: str
) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], bytes]]]:
    """Run a command whose standard error is a terminal; give it, and what returns more of what it printed there."""
    terminal, other_side = pty.openpty()
    termios.tcsetwinsize(other_side, (24, columns))
    command = [sys.executable, "-m", "wfmgmt.cli.main", *arguments]
    # What runs in the background of a script ignores SIGINT, and so would all that it starts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=other_side, env={**os.environ, "TERM": "xterm", **environment}
    )
    signal.signal(signal.SIGINT, before)
    os.close(other_side)
    deadline = threading.Timer(60, process.kill)
    deadline.start()

    def more() -> bytes:
        try:
            return os.read(terminal, 65536)
        except OSError:  # The other side is closed.
            return b""

    try:
        yield process, more
    finally:
        deadline.cancel()
        process.kill()
        process.communicate()
        os.close(terminal)


def shown(printed: bytes) -> list[str]:
    """Return the lines that were drawn one over the other."""
    return [line for line in printed.decode().split(CLEAR.decode()) if line]


def test_terminal_shows_what_is_waited_for_until_it_is_done() -> None:
    """On standard error alone; the line is gone in the end."""
    seen = threading.Event()

    def respond(_: Request) -> Reply:
        seen.wait(30)
        return Reply(body={"status": "done"})

    with FakeService(respond) as service, on_terminal("unregister", "seq", "--url", service.url) as (process, more):
        printed = b""
        while chunk := more():
            printed += chunk
            if b"waiting for unregister" in printed:
                seen.set()
        out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, b"done\n")
    assert printed.endswith(CLEAR)


def test_terminal_has_one_line_that_says_how_far_an_operation_is() -> None:
    """With a bar, bytes, their rate and workers; no drawn line is wider than the terminal."""
    loading = {
        **OPERATION,
        "phase": "loading",
        "progress": {"bytes": 6 * 1024**2, "totalBytes": 6 * 1024**2, "nodes": {"m": {"ready": 1, "wanted": 2}}},
    }
    steps: list[tuple[dict[str, Any], bytes]] = [
        (HALF, b"fetching [##########----------] 3.0/6.0MiB"),
        (LATER, b"] 5.0/6.0MiB "),
        (loading, b"loading [##########----------] 6.0/6.0MiB 1/2 workers"),
    ]
    printed, seen = bytearray(), threading.Semaphore(0)

    def respond(_: Request) -> Reply:
        number = len(service.requests) - 1
        if number and number <= len(steps):
            assert seen.acquire(timeout=30)
        return Reply(body=steps[number][0] if number < len(steps) else SUCCEEDED)

    with FakeService(respond) as service, on_terminal("wait", UID, "--url", service.url) as (process, more):
        expected = [text for _, text in steps]
        while chunk := more():
            printed += chunk
            while expected and expected[0] in printed:
                expected.pop(0)
                seen.release()
        out, _ = process.communicate(timeout=30)
    assert (process.returncode, out, expected) == (0, b"register seq 1.0 succeeded\n", [])
    assert b"\n" not in printed
    assert printed.endswith(CLEAR)
    assert re.search(r"5\.0/6\.0MiB \d+\.\dMiB/s … \d+ s", printed.decode())
    assert max(map(len, shown(bytes(printed)))) < 80


def test_line_fits_a_narrow_terminal() -> None:
    """It would leave rests of itself behind otherwise."""
    seen = threading.Event()

    def respond(_: Request) -> Reply:
        if len(service.requests) == 1:
            return Reply(body=HALF)
        seen.wait(30)
        return Reply(body=SUCCEEDED)

    with (
        FakeService(respond) as service,
        on_terminal("wait", UID, "--url", service.url, columns=20) as (process, more),
    ):
        printed = b""
        while chunk := more():
            printed += chunk
            if b"fetching [" in printed:
                seen.set()
        process.communicate(timeout=30)
    assert max(map(len, shown(printed))) == 19


def test_interruption_leaves_a_clean_terminal_and_says_how_to_go_on() -> None:
    """The operation goes on; 130 is what shells have for it."""
    released = threading.Event()

    def respond(_: Request) -> Reply:
        if len(service.requests) > 1:
            released.wait(30)
        return Reply(body=HALF)

    with FakeService(respond) as service, on_terminal("wait", UID, "--url", service.url) as (process, more):
        printed, is_sent = b"", False
        while chunk := more():
            printed += chunk
            if not is_sent and b"fetching [" in printed:
                process.send_signal(signal.SIGINT)
                is_sent = True
        process.communicate(timeout=30)
        released.set()
    assert process.returncode == 130
    assert printed.endswith(CLEAR + f"wfmgmt: interrupted; it goes on: wfmgmt wait {UID}\r\n".encode())


def test_terminal_without_escape_sequences_gets_lines() -> None:
    """As a file does: one for each change of phase or workers, not for each look."""
    replies = iter([HALF, HALF, LATER, {**OPERATION, "phase": "checking"}, SUCCEEDED])
    with (
        FakeService(lambda _: Reply(body=next(replies))) as service,
        on_terminal("wait", UID, "--url", service.url, TERM="dumb") as (process, more),
    ):
        printed = b""
        while chunk := more():
            printed += chunk
        process.communicate(timeout=30)
    assert printed == b"fetching: 3.0/6.0MiB\r\nchecking: 3.0/6.0MiB\r\n"


def test_headings_are_bold_unless_styles_are_not_wanted() -> None:
    """NO_COLOR with anything in it, or a terminal that has none."""
    environments: list[dict[str, str]] = [{}, {"NO_COLOR": "1"}, {"TERM": "dumb"}]
    for environment in environments:
        terminal, other_side = pty.openpty()
        with FakeService(lambda _: Reply(body={"workflows": []})) as service:
            command = [sys.executable, "-m", "wfmgmt.cli.main", "list", "--url", service.url]
            subprocess.run(command, check=True, stdout=other_side, env={**os.environ, "TERM": "xterm", **environment})
        printed = os.read(terminal, 65536)
        os.close(other_side)
        os.close(terminal)
        assert (b"\x1b[1m" in printed) is not bool(environment)


@pytest.mark.parametrize(
    ("done", "total", "text"),
    [
        (512, 1536, "0.5/1.5KiB"),
        (512, None, "0.5/?KiB"),
        (512, 2 * 1024**2, "0.0/2.0MiB"),
        (3 * 1024**2, None, "3.0/?MiB"),
    ],
)
def test_bytes_are_in_the_unit_that_shows_them(done: int, total: int | None, text: str) -> None:
    """Small archives are most common, and never `0.0/0.0MiB`."""
    assert Step(phase="fetching", bytes=done, total_bytes=total).text == text
