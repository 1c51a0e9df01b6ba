"""The two forms of the log."""

import json
import logging

from wfmgmt.logs import JsonFormatter, TextFormatter


def make_record(message: str, **extra: str) -> logging.LogRecord:
    """Return the record of one event."""
    record = logging.LogRecord("wfmgmt.handler", logging.WARNING, __file__, 1, message, None, None)
    record.created, record.msecs = 0.0, 0.0
    for name, value in extra.items():
        setattr(record, name, value)
    return record


def test_text_names_workflow_and_node() -> None:
    """A line tells whose it is."""
    line = TextFormatter().format(make_record("hello", workflow="seq", node="m1"))
    assert line == "1970-01-01T00:00:00.000Z WARNING wfmgmt.handler [seq m1]: hello"


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
