"""YAML texts without secrets. It is a module of its own, since each process redacts its log, and few parse YAML."""

from collections.abc import Iterable
from typing import Any

import yaml

from wfmgmt.domain.redaction import redacted


def redacted_yaml(text: str) -> str:
    """Return a YAML text that can be parsed without credentials, queries and fragments of the addresses in it.

    Scalars are replaced as a whole, since quotes and escapes can hide what they say; comments count as text.
    """
    pieces, end = [], 0
    events: Iterable[Any] = yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    for event in events:
        if isinstance(event, yaml.ScalarEvent) and (shown := redacted(event.value)) != event.value:
            start, after = (mark.index for mark in (event.start_mark, event.end_mark) if mark is not None)
            anchor = "" if event.anchor is None else f"&{event.anchor} "
            value = shown.replace("'", "''").replace("\n", "\n\n")
            line_end = "\n" if text[start:after].endswith("\n") else ""
            pieces += [redacted(text[end:start]), f"{anchor}'{value}'{line_end}"]
            end = after
    return "".join([*pieces, redacted(text[end:])])
