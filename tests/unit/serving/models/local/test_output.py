"""What handlers print reaches the log, within limits."""

import asyncio
import logging

import pytest

from wfmgmt.serving.models.local.output import MAX_BYTES_PER_SECOND, MAX_LINE_BYTES, MAX_LINES_PER_SECOND, OutputLog


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def log_all(*chunks: bytes, clock: Clock | None = None) -> None:
    """Log what arrives in these chunks, up to the end of the output."""

    async def run() -> None:
        output = OutputLog(fields={"workflow": "w", "node": "n"}, mark="k7", clock=clock or Clock())
        for chunk in chunks:
            output.data_received(chunk)
        output.connection_lost(None)
        await output.closed

    asyncio.run(run())


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Return the log of handlers."""
    caplog.set_level(logging.INFO, logger="wfmgmt.handler")
    return caplog


def test_output_is_logged_line_by_line(log: pytest.LogCaptureFixture) -> None:
    """Lines are logged whole, however they are cut on the way, and the last one needs no line break."""
    log_all(b"first\nsec", b"ond\n", b"\nlast")
    assert log.messages == ["first", "second", "", "last"]


def test_output_names_workflow_and_node(log: pytest.LogCaptureFixture) -> None:
    """Each line carries the workflow and the node as fields of its record."""
    log_all(b"hello\n")
    record = log.records[0]
    assert (record.name, record.levelname) == ("wfmgmt.handler", "INFO")
    assert (record.__dict__["workflow"], record.__dict__["node"]) == ("w", "n")


def test_output_survives_bytes_that_are_not_text(log: pytest.LogCaptureFixture) -> None:
    """Bytes that are not UTF-8 are shown as escapes."""
    log_all(b"\xff ok\n")
    assert log.messages == ["\\xff ok"]


@pytest.mark.parametrize("chunk_bytes", [1_000, 1_000_000])
def test_output_cuts_lines_that_are_too_long(log: pytest.LogCaptureFixture, chunk_bytes: int) -> None:
    """A long line is logged up to the limit, marked, and not kept in memory; the next is whole again."""
    text = b"x" * 100_000 + b"\nnext\n"
    log_all(*(text[start : start + chunk_bytes] for start in range(0, len(text), chunk_bytes)))
    assert log.messages == ["x" * MAX_LINE_BYTES + " … (cut)", "next"]


def test_output_keeps_a_line_of_just_the_limit(log: pytest.LogCaptureFixture) -> None:
    """A line that just fits is not marked as cut."""
    log_all(b"x" * MAX_LINE_BYTES + b"\n")
    assert log.messages == ["x" * MAX_LINE_BYTES]


def test_output_drops_lines_of_a_flood_and_says_how_many(log: pytest.LogCaptureFixture) -> None:
    """Of a flood the first lines of each second are logged and the others counted."""
    log_all(b"line\n" * (MAX_LINES_PER_SECOND + 7))
    assert log.messages == ["line"] * MAX_LINES_PER_SECOND + ["7 more lines were printed and not logged"]


def test_output_is_logged_again_in_the_next_second(log: pytest.LogCaptureFixture) -> None:
    """The limit counts anew with each second."""
    clock = Clock()

    async def run() -> None:
        output = OutputLog(fields={"workflow": "w", "node": "n"}, clock=clock)
        output.data_received(b"line\n" * (MAX_LINES_PER_SECOND + 2))
        clock.now += 1
        output.data_received(b"again\n")
        output.connection_lost(None)

    asyncio.run(run())
    assert log.messages[MAX_LINES_PER_SECOND:] == ["2 more lines were printed and not logged", "again"]


def test_output_is_bounded_in_bytes(log: pytest.LogCaptureFixture) -> None:
    """Long lines fill the log of a second sooner than short ones."""
    lines = 2 * MAX_BYTES_PER_SECOND // MAX_LINE_BYTES
    log_all((b"x" * MAX_LINE_BYTES + b"\n") * lines)
    assert lines < MAX_LINES_PER_SECOND
    assert log.messages[:-1] == ["x" * MAX_LINE_BYTES] * (lines // 2)
    assert log.messages[-1] == f"{lines // 2} more lines were printed and not logged"


def test_output_takes_the_level_of_records(log: pytest.LogCaptureFixture) -> None:
    """Records of a handler's log have their level, what it prints is information, and neither disturbs the other."""
    log_all(b"printed\n\x1ek7 40 - wrong\n\x1ek7 30 - odd", b"\n10%|#\x1ek7 20 - done\n\x1ek", b"7 50 - over\n\x1ex\n")
    assert [(record.levelname, record.getMessage()) for record in log.records] == [
        ("INFO", "printed"),
        ("ERROR", "wrong"),
        ("WARNING", "odd"),
        ("INFO", "10%|#"),
        ("INFO", "done"),
        ("CRITICAL", "over"),
        ("INFO", "\x1ex"),
    ]
    assert not [record for record in log.records if hasattr(record, "request_id")]


def test_output_takes_the_request_of_records(log: pytest.LogCaptureFixture) -> None:
    """A record that was logged during one request has its id; a malformed one is text like any other."""
    log_all(b"\x1ek7 40 r-1/a wrong\n\x1ek7 30 - odd\n\x1ek7 30 r1\x1b[2J x\n")
    found = [(record.getMessage(), getattr(record, "request_id", None)) for record in log.records]
    assert found == [("wrong", "r-1/a"), ("odd", None), ("\x1ek7 30 r1\x1b[2J x", None)]


@pytest.mark.parametrize("forged", ["\x1e50 r1 all is lost", "\x1ek8 50 r1 all is lost", "\x1e 50 r1 all is lost"])
def test_output_takes_no_record_without_the_mark(log: pytest.LogCaptureFixture, forged: str) -> None:
    """What a handler prints may come from a client, who does not know the mark: it is text like any other."""
    log_all(f"asked: {forged}\n".encode())
    assert [(each.levelname, each.getMessage()) for each in log.records] == [("INFO", "asked: "), ("INFO", forged)]
    assert not [record for record in log.records if hasattr(record, "request_id")]


def test_output_below_the_level_of_the_log_costs_nothing(log: pytest.LogCaptureFixture) -> None:
    """What is not logged takes no room from what is."""
    log_all(b"\x1ek7 10 - detail\n" * (MAX_LINES_PER_SECOND + 1) + b"\x1ek7 40 - wrong\n")
    assert log.messages == ["wrong"]


def test_output_says_how_much_was_dropped_though_nothing_more_is_printed(log: pytest.LogCaptureFixture) -> None:
    """A timer tells of it, the count is handed on, and the end says nothing twice."""
    counted: list[int] = []

    async def run() -> None:
        told = asyncio.Event()

        def on_dropped(lines: int) -> None:
            counted.append(lines)
            told.set()

        output = OutputLog(fields={"workflow": "w", "node": "n"}, on_dropped=on_dropped)
        output.data_received(b"line\n" * (MAX_LINES_PER_SECOND + 3))
        async with asyncio.timeout(30):
            await told.wait()
        output.connection_lost(None)

    asyncio.run(run())
    assert counted == [3]
    assert log.messages[MAX_LINES_PER_SECOND:] == ["3 more lines were printed and not logged"]
