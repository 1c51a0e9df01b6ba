"""Texts without the secrets of the addresses in them: what may be shown, logged and stored.

Credentials stand before the host, and the tokens of signed addresses in the query or the fragment.
"""

import re
from collections.abc import Iterable
from typing import Any

import yaml

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# The scheme is left out on purpose: looking for one from every letter of a long word takes quadratic time.
_REST_OF_ADDRESS = re.compile(r"://\S*")
_AUTHORITY = re.compile(r"[^/]*")
_QUERY = re.compile(r"[?#]")
_PUNCTUATION = "'\"`<>()[]{},.;:!"


def redacted_address(address: str) -> str:
    """Return an address, or what was given in place of one, without credentials, query and fragment."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        return address.partition("?")[0]
    authority = _AUTHORITY.match(rest)
    host = authority[0] if authority else ""
    if "@" in host and _QUERY.search(host):
        return f"{scheme}://…"  # Parsers do not agree on what is host and what is secret here.
    return f"{scheme}://{_QUERY.split(rest[host.rfind('@') + 1 :], maxsplit=1)[0]}"


def redacted(text: str) -> str:
    """Return a text without credentials, queries and fragments of the addresses in it."""
    return _REST_OF_ADDRESS.sub(_redacted_match, text)


def redacted_yaml(text: str) -> str:
    """Return a YAML text that can be parsed without credentials, queries and fragments of the addresses in it.

    Scalars are replaced as a whole, since quotes and escapes can hide what they say; comments count as text.
    """
    pieces, end = [], 0
    events: Iterable[Any] = yaml.parse(text, Loader=_LOADER)
    for event in events:
        if isinstance(event, yaml.ScalarEvent) and (shown := redacted(event.value)) != event.value:
            start, after = (mark.index for mark in (event.start_mark, event.end_mark) if mark is not None)
            anchor = "" if event.anchor is None else f"&{event.anchor} "
            value = shown.replace("'", "''").replace("\n", "\n\n")
            line_end = "\n" if text[start:after].endswith("\n") else ""
            pieces += [redacted(text[end:start]), f"{anchor}'{value}'{line_end}"]
            end = after
    return "".join([*pieces, redacted(text[end:])])


def _redacted_match(match: re.Match[str]) -> str:
    word = match[0].rstrip(_PUNCTUATION)
    shown = redacted_address(word)
    return shown + match[0][len(word) :]
