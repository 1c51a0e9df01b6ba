"""The two forms of the log."""

import json
import logging
import os
import re
import threading
from pathlib import Path

import pytest

from tests.support.service import wait_until
from wfmgmt.http import access_log
from wfmgmt.logs import JsonFormatter, LogWriter, TextFormatter, logging_config

#: What forges lines, moves the cursor or turns the text around, as handlers may print it.
HOSTILE = "a\n2026 ERROR x: b\rc\x1b[2Jd\0e\x85f\u2028g\u202eh\u2066i\udc80"


def make_record(message: str, **extra: str) -> logging.LogRecord:
    """Return the record of one event."""
    record = logging.LogRecord("wfmgmt.handler", logging.WARNING, __file__, 1, message, None, None)
    record.created, record.msecs = 0.0, 0.0
    for name, value in extra.items():
        setattr(record, name, value)
    return record


def test_text_names_workflow_and_node() -> None:
    """A line tells whose it is."""
    line = TextFormatter().format(make_record("hello", workflow="seq", node="m 1", request_id="r1", version="1.0"))
    where = '[request_id=r1 workflow=seq version=1.0 node="m 1"]'
    assert line == f"1970-01-01T00:00:00.000Z WARNING wfmgmt.handler {where}: hello"


def test_text_shows_where_each_value_ends() -> None:
    """A name that looks like more fields, or like the end of them, is quoted."""
    line = TextFormatter().format(make_record("x", workflow="seq", node='a version=9]: "b'))
    assert ' [workflow=seq node="a version=9]: \\"b"]: x' in line.replace("\\\\", "\\")


def test_json_has_fields_for_values_of_the_message() -> None:
    """What is counted by machines need not be cut out of a text; nothing and zero are distinguished."""
    record = make_record("GET / 200 0 bytes", method="GET", client="")
    record.__dict__.update(status=200, bytes=0)
    fields = json.loads(JsonFormatter().format(record))
    assert (fields["method"], fields["status"], fields["bytes"]) == ("GET", 200, 0)
    assert "client" not in fields
    assert "[" not in TextFormatter().format(record)


@pytest.mark.parametrize(("setting", "logged"), [("off", []), ("errors", [400, 503]), ("all", [200, 399, 400, 503])])
def test_access_log_has_the_lines_that_are_wanted(setting: str, logged: list[int]) -> None:
    """Errors are 4xx and 5xx, whatever the level of the log."""
    found: list[int] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.__dict__["status"])

    config = logging_config("text", "error", setting)
    log, collector = logging.getLogger("wfmgmt.access"), Collector()
    before = (log.level, list(log.filters))
    log.addHandler(collector)
    try:
        log.setLevel(config["loggers"]["wfmgmt.access"]["level"])
        for each in config["loggers"]["wfmgmt.access"]["filters"]:
            log.addFilter(each)
        assert access_log.is_on() == bool(logged)
        for status in (200, 399, 400, 503):
            access_log.log_request(
                method="GET", target="/", status=status, took_s=0, size_bytes=0, client="", request_id="r"
            )
    finally:
        log.removeHandler(collector)
        log.setLevel(before[0])
        log.filters[:] = before[1]
    assert found == logged


def test_path_in_the_access_log_is_one_word_without_query(caplog: pytest.LogCaptureFixture) -> None:
    """A client cannot make up further fields, and a token in the query stays out of the log."""
    caplog.set_level(logging.INFO, logger="wfmgmt.access")
    access_log.log_request(
        method="GET", target="/a b\t200\n\udcff%20?token=1", status=404, took_s=0.01234, size_bytes=5, client="1.2.3.4",
        request_id="r1",
    )  # fmt: skip
    assert caplog.messages == ["1.2.3.4 GET /a%20b%09200%0A%FF%20 404 12.3 ms 5 bytes"]


def test_json_is_one_object_a_line() -> None:
    """Line breaks in a message do not break the line, and what belongs to it has fields of its own."""
    line = JsonFormatter().format(make_record("two\nlines", workflow="seq", request_id="r1"))
    assert "\n" not in line
    fields = json.loads(line)
    assert (fields["message"], fields["workflow"], fields["request_id"]) == ("two\nlines", "seq", "r1")
    assert "node" not in fields


def test_json_carries_the_traceback() -> None:
    """An unforeseen error can be found out from the log alone."""
    try:
        _ = 1 / 0
    except ZeroDivisionError as error:
        record = make_record("failed")
        record.exc_info = (type(error), error, error.__traceback__)
    assert "ZeroDivisionError" in json.loads(JsonFormatter().format(record))["traceback"]


def test_any_logged_text_stays_one_line() -> None:
    """Control, format and separator characters are shown as escapes, in the message and in what it belongs to."""
    line = TextFormatter().format(make_record(HOSTILE, workflow="w\nx", node="n\x1b"))
    assert line.isprintable()
    assert (
        "[workflow=w\\nx node=n\\x1b]: a\\n2026 ERROR x: b\\rc\\x1b[2Jd\\x00e\\x85f\\u2028g\\u202eh\\u2066i\\udc80"
        in line
    )


def test_text_indents_every_line_of_a_traceback() -> None:
    """What an exception says cannot pass for a line of the log."""
    record = make_record("failed")
    try:
        int(HOSTILE)
    except ValueError as error:
        record.exc_info = (type(error), error, error.__traceback__)
    first, *others = TextFormatter().format(record).split("\n")
    assert first.endswith(": failed")
    assert len(others) > 3
    assert all(line.startswith("    ") and line.isprintable() for line in others)


def test_text_has_the_traceback_of_another_process() -> None:
    """Workers send theirs as text."""
    assert TextFormatter().format(make_record("failed", traceback="one\ntwo")).endswith(": failed\n    one\n    two")


def test_json_of_any_logged_value_is_printable() -> None:
    """Readers that split lines at more characters than the line break, and terminals, see one harmless line."""
    line = JsonFormatter().format(make_record(HOSTILE, workflow="wörk\x9b"))
    assert line.isprintable()
    assert json.loads(line)["message"] == HOSTILE
    assert '"wörk\\u009b"' in line


def notice(lines: int) -> str:
    """Return what stands for lines that were dropped."""
    return f"{lines} dropped"


def test_writer_drops_what_is_not_read_and_says_how_much() -> None:
    """With a full pipe nothing blocks; once it is read again, the log goes on and tells how many lines are missing."""
    read_fd, write_fd = os.pipe()
    writer = LogWriter(write_fd, notice=notice, max_waiting_bytes=500_000)
    for _ in range(5_000):
        writer.write("x" * 99)
    assert writer.dropped_total > 1_000
    assert not writer.flush(0.05)
    text = b""

    def read() -> None:
        nonlocal text
        while data := os.read(read_fd, 65536):
            text += data

    reader = threading.Thread(target=read)
    reader.start()
    assert writer.flush(10)
    dropped = writer.dropped_total
    writer.write("again")
    assert writer.flush(10)
    os.close(write_fd)
    reader.join()
    os.close(read_fd)
    lines = text.decode().splitlines()
    assert lines[-1] == "again"
    assert sum(int(line.split()[0]) for line in lines if line.endswith("dropped")) == dropped
    assert lines.count("x" * 99) == 5_000 - dropped


def test_writer_goes_on_when_the_disk_is_full() -> None:
    """An error of the descriptor reaches nobody, and is counted."""
    with Path("/dev/full").open("wb") as full:
        writer = LogWriter(full.fileno(), notice=notice)
        for _ in range(3):
            writer.write("x")
        assert writer.flush(10)
        assert writer.dropped_total == 3


@pytest.mark.parametrize("is_closed_at_both_ends", [False, True], ids=["EPIPE", "EBADF"])
def test_writer_goes_on_when_the_log_is_closed(*, is_closed_at_both_ends: bool) -> None:
    """A reader that is gone, or a descriptor that is, ends nothing."""
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    writer = LogWriter(write_fd if not is_closed_at_both_ends else 1_000_000, notice=notice)
    writer.write("x")
    assert writer.flush(10)
    assert writer.dropped_total == 1
    os.close(write_fd)


def test_writer_ends_a_line_that_broke_off(tmp_path: Path) -> None:
    """What follows a line of which the system took only a part begins on a line of its own."""
    with (tmp_path / "log").open("wb") as file:
        writer = LogWriter(file.fileno(), notice=notice)
        writer._is_torn = True  # noqa: SLF001 - a disk that fills within a line needs a file system of its own
        writer.write("next")
        assert writer.flush(10)
    assert (tmp_path / "log").read_text() == "\nnext\n"


def test_writer_works_in_a_fork(tmp_path: Path) -> None:
    """A forked copy has a thread of its own and leaves its parent's lines to the parent."""
    path = tmp_path / "log"
    with path.open("ab") as file:
        writer = LogWriter(file.fileno(), notice=notice)
        writer.write("parent")
        assert writer.flush(10)
        pid = os.fork()
        if pid == 0:
            writer.write("child")
            os._exit(0 if writer.flush(10) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        writer.write("parent again")
        assert writer.flush(10)
    assert re.findall(r".+", path.read_text()) == ["parent", "child", "parent again"]


def test_writer_starts_its_thread_later_when_there_can_be_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the limit of threads lines wait until one can be started."""

    def fail(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    path = tmp_path / "log"
    with path.open("ab") as file:
        writer = LogWriter(file.fileno(), notice=notice)
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", fail)
            writer.write("first")
        writer.write("second")
        assert writer.flush(10)
    wait_until(lambda: path.read_text() == "first\nsecond\n")
