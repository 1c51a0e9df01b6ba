"""Texts without the secrets in them: what may be shown, logged and stored.

Credentials stand before the host of an address, and the tokens of signed addresses in the query or the fragment. Our
own tokens are known by their form, wherever they stand.
"""

import re

# Browsers take backslashes for slashes, JSON may write one before each, and a slash is easily forgotten. The scheme is
# left out on purpose, or looked for backwards: looking for one from every letter of a long word takes quadratic time.
_SEPARATOR = re.compile(r":[/\\]{2,}|(?:(?<=http)|(?<=https)):[/\\]?", re.IGNORECASE)
_REST_OF_ADDRESS = re.compile(rf"({_SEPARATOR.pattern})(\S*)", re.IGNORECASE)
_AUTHORITY = re.compile(r"[^/]*")
_QUERY = re.compile(r"[?#]")
_PORT = re.compile(r"[0-9]{0,5}")
#: A token of ours, which is a secret also when it was cut off or has a character too many, and what is shown of one.
_TOKEN = re.compile(r"(wfm_[0-9A-Za-z]{4})[0-9A-Za-z]{20,}")
_PUNCTUATION = "'\"`<>()[]{},.;:!"


def redacted_address(address: str) -> str:
    """Return an address, or what was given in place of one, without credentials, query and fragment."""
    separator = _SEPARATOR.search(address)
    if separator is None:
        return without_tokens(address.partition("?")[0])
    return without_tokens(address[: separator.end()] + _redacted_rest(address[separator.end() :]))


def _redacted_rest(rest: str) -> str:
    """Return what may be shown of an address after its scheme."""
    authority = _AUTHORITY.match(rest)
    host = authority[0] if authority else ""
    if _is_doubtful(host, rest[len(host) :]):
        return "…"
    return _QUERY.split(rest[host.rfind("@") + 1 :], maxsplit=1)[0]


def _is_doubtful(host: str, path: str) -> bool:
    """Return whether parsers do not agree on what is host and what is secret in an address."""
    if "@" in host:
        return _QUERY.search(host) is not None
    port = host.rpartition("]")[2].partition(":")[2]  # Or the beginning of a password with a slash in it.
    return "@" in path and _PORT.fullmatch(port) is None


def redacted(text: str) -> str:
    """Return a text without tokens, and without credentials, queries and fragments of the addresses in it."""
    return without_tokens(_REST_OF_ADDRESS.sub(_redacted_match, text))


def without_tokens(text: str) -> str:
    """Return a text that has only the beginnings of the tokens in it."""
    return _TOKEN.sub(r"\1…", text) if "wfm_" in text else text


def _redacted_match(match: re.Match[str]) -> str:
    word = match[2].rstrip(_PUNCTUATION)
    return match[1] + _redacted_rest(word) + match[2][len(word) :]
