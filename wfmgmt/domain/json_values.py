"""Values of parsed JSON, read strictly: errors name the place, what was expected and what was there."""

import re
from collections.abc import Collection
from typing import Any

from wfmgmt.domain.names import nearest, quoted, shortened
from wfmgmt.errors import BadRequest


def whole_number(where: str, value: object, *, least: int, most: int) -> int:
    """Return a value as an int; digits in a text, as parameters are, count, and 5.0, since JSON knows no ints.

    Raises:
        BadRequest: It is not a whole number within the bounds.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    is_number = isinstance(text, str) and re.fullmatch("[0-9]{1,20}", text) is not None
    if not is_number or not least <= int(str(text)) <= most:
        raise unexpected(where, f"a whole number from {least} to {most}", value)
    return int(str(text))


def number(where: str, value: object, *, least: float, most: float) -> float:
    """Return a value as a float.

    Raises:
        BadRequest: It is not a number within the bounds.
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
        raise unexpected(where, f"a number from {least:g} to {most:g}", value)
    return float(value)


def text(where: str, value: object) -> str:
    """Return a value that is a text.

    Raises:
        BadRequest: It is something else.
    """
    if not isinstance(value, str):
        raise unexpected(where, "text", value)
    return value


def array(where: str, value: object) -> list[Any]:
    """Return a value that is an array.

    Raises:
        BadRequest: It is something else.
    """
    if not isinstance(value, list):
        raise unexpected(where, "an array", value)
    return value


def fields(where: str, value: object, known: Collection[str], *, required: Collection[str] = ()) -> dict[str, Any]:
    """Return the fields of a value that is an object, without those that are null.

    Args:
        where: Place of the object.
        value: The value.
        known: Names of all fields that there can be.
        required: Names of those that have to be there.

    Raises:
        BadRequest: It is no object, has a field that is not known, or lacks one.
    """
    if not isinstance(value, dict):
        raise unexpected(where, f"an object with {', '.join(known)}", value)
    for name in value:
        if name not in known:
            near = nearest(name, known)
            hint = f"did you mean {near}?" if near else f"known are {', '.join(known)}."
            raise BadRequest(f"{where}: unknown key {quoted(name)}, {hint}")
    given = {name: each for name, each in value.items() if each is not None}
    for name in required:
        if name not in given:
            raise BadRequest(f"{where}.{name} is required.")
    return given


def unexpected(where: str, expected: str, value: object) -> BadRequest:
    """Return the error for a value that is not what its place calls for."""
    return BadRequest(f"{where}: expected {expected}, got {described(value)}.")


def described(value: object, *, array: str = "an array", mapping: str = "an object") -> str:
    """Return a value as the author of the JSON would call it, or of another language that has these two words."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case str():
            return quoted(value)
        case list():
            return array
        case dict():
            return mapping
        case _:
            return shortened(str(value))
