"""Paths of the descriptions, with something for each of their parameters."""

_VALUES = {"name": "seq", "version": "1.0", "node": "m1", "model": "seq__m1", "number": "1", "uid": "0" * 32}
_VALUES |= {"store": "models", "file": "m1.mar", "token": "ci", "unknown": "nothing"}


def concrete(path: str) -> str:
    """Return a path of a description that can be requested.

    Raises:
        AssertionError: It has a parameter that is not known here.
    """
    for name, value in _VALUES.items():
        path = path.replace(f"{{{name}}}", value)
    assert "{" not in path, path
    return path
