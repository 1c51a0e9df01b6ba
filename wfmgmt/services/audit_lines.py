"""Events of the audit trail as JSON, as lines of it, and as CSV."""

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from wfmgmt.registry.audit_reading import RecordedEvent

COLUMNS = ("id", "at", "actor", "address", "requestId", "action", "workflow", "outcome", "detail", "hash")
#: What makes a spreadsheet run a cell.
_FORMULA = re.compile(r"^[=+\-@\t\r]")


def event_json(event: RecordedEvent) -> dict[str, Any]:
    """Return an event as answers show it."""
    return {
        "id": event.id,
        "at": event.at,
        "actor": event.actor,
        "address": event.address,
        "requestId": event.request_id,
        "action": event.action,
        "workflow": event.workflow,
        "outcome": event.outcome,
        "detail": event.detail,
        "previousHash": event.previous_hash,
        "hash": event.hash,
    }


def json_lines(events: Iterator[RecordedEvent]) -> Iterator[str]:
    """Yield events as JSON, one a line."""
    return (f"{json.dumps(event_json(each), ensure_ascii=False)}\n" for each in events)


def csv_lines(events: Iterator[RecordedEvent]) -> Iterator[str]:
    """Yield events as CSV with a line of headings; what a spreadsheet would run has an apostrophe before it."""
    yield _csv_line(COLUMNS)
    for each in events:
        values = event_json(each)
        detail = json.dumps(values["detail"], ensure_ascii=False, sort_keys=True)
        yield _csv_line([_cell(str(value)) for value in ({**values, "detail": detail}[name] for name in COLUMNS)])


def _cell(text: str) -> str:
    return f"'{text}" if _FORMULA.match(text) else text


def _csv_line(cells: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue()
