"""The last lines about each node, and how much memory they take."""

import logging
from typing import Any

import pytest

from wfmgmt.serving.node_logs import MAX_LINES, MAX_MESSAGE_CHARS, MAX_NODE_BYTES, MAX_TRACEBACK_CHARS, NodeLogs


def log(logs: NodeLogs, message: str, level: int = logging.INFO, *, at: float = 0.0, **fields: Any) -> None:
    """Log one record, about the node `m1` unless said otherwise."""
    record = logging.LogRecord("wfmgmt.x", level, __file__, 1, message, None, None)
    record.created, record.msecs = at, at % 1 * 1000
    record.__dict__.update({"workflow": "seq", "version": "1.0", "node": "m1", **fields})
    logs.handle(record)


def texts(logs: NodeLogs, *, node: str | None = None, version: str = "1.0", lines: int = 1000) -> list[str]:
    """Return the texts that are kept."""
    return [line.text for line in logs.report("seq", version, node, lines).lines]


def test_lines_have_time_process_and_level() -> None:
    """A record without a process has none, and its text may have spaces and lines."""
    logs = NodeLogs()
    log(logs, "worker up after 0.10 s", pid=7)
    log(logs, "two  words\nand more ", logging.WARNING, at=1.5)
    first, second = logs.report("seq", "1.0", None, 10).lines
    assert (first.at, first.node, first.pid, first.level) == ("1970-01-01T00:00:00.000Z", "m1", 7, "info")
    assert first.text == "worker up after 0.10 s"
    assert (second.at, second.pid, second.level) == ("1970-01-01T00:00:01.500Z", None, "warning")
    assert second.text == "two  words\nand more "


def test_level_of_a_handlers_own_may_have_spaces() -> None:
    """The name of a level that has none is two words, and the text is none of them."""
    logs = NodeLogs()
    log(logs, "odd one", 35)
    (line,) = logs.report("seq", "1.0", None, 10).lines
    assert (line.level, line.text) == ("level 35", "odd one")


def test_traceback_is_a_part_of_its_record() -> None:
    """Its end is kept, which says what was wrong."""
    logs = NodeLogs()
    log(logs, "m" * 5_000, traceback="x" * 100_000 + "\nValueError: bad")
    (text,) = texts(logs)
    assert text.startswith("m" * MAX_MESSAGE_CHARS + "\nx")
    assert text.endswith("x\nValueError: bad")
    assert len(text) == MAX_MESSAGE_CHARS + 1 + MAX_TRACEBACK_CHARS


def test_lines_of_all_nodes_are_in_the_order_of_their_times() -> None:
    """One node can be asked for, and only so many lines; other versions have their own."""
    logs = NodeLogs()
    for at, node in enumerate(("m1", "m2", "m1", "m2")):
        log(logs, f"{at}", at=at, node=node)
    log(logs, "other", version="2.0")
    assert texts(logs) == ["0", "1", "2", "3"]
    assert texts(logs, node="m2") == ["1", "3"]
    assert texts(logs, lines=1) == ["3"]
    assert texts(logs, lines=0) == texts(logs, node="m3") == texts(logs, version="3.0") == []
    assert texts(logs, version="2.0") == ["other"]


@pytest.mark.parametrize("missing", ["workflow", "version", "node"])
def test_records_about_no_node_are_not_kept(missing: str) -> None:
    """The forkserver, requests and changes have lines without them."""
    logs = NodeLogs()
    log(logs, "x", logging.INFO, at=0, **{missing: ""})
    assert texts(logs) == []


def test_last_lines_are_kept_within_their_bytes() -> None:
    """The oldest goes, be it for number or for size."""
    logs = NodeLogs()
    for number in range(MAX_LINES + 5):
        log(logs, f"{number}")
    assert texts(logs) == [f"{number}" for number in range(5, MAX_LINES + 5)]
    for _ in range(MAX_LINES):
        log(logs, "ü" * MAX_MESSAGE_CHARS)
    assert 0 < len(texts(logs)) <= MAX_NODE_BYTES // (4 * MAX_MESSAGE_CHARS)


def test_nodes_that_log_nothing_make_room_for_others() -> None:
    """All together have a bound; what was logged last stays."""
    logs = NodeLogs(max_bytes=20 * MAX_NODE_BYTES)
    for node in range(100):
        for _ in range(MAX_LINES):
            log(logs, "x" * 200, node=f"n{node}")
    kept = [node for node in range(100) if texts(logs, node=f"n{node}")]
    assert kept == list(range(100 - len(kept), 100))
    assert 20 <= len(kept) <= 21


def test_last_lines_of_each_node_come_with_its_last_warning_and_error() -> None:
    """One node that writes much hides neither the others nor its own troubles."""
    logs = NodeLogs()
    log(logs, "calm", at=0, node="m2")
    for at, (message, level) in enumerate(
        [
            ("worse", logging.ERROR),
            ("odd", logging.WARNING),
            ("bad", logging.ERROR),
            *((str(each), logging.INFO) for each in range(9)),
        ]
    ):
        log(logs, message, level, at=at + 1)
    lines = logs.report("seq", "1.0", None, 100, per_node=2).lines
    assert [line.text for line in lines] == ["calm", "odd", "bad", "7", "8"]
