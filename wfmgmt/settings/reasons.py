"""Why the value of a setting is refused, in the same words whether pydantic refuses it or a check of our own."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

#: What was expected, by the type of a problem.
_EXPECTED = {
    "int_parsing": "a whole number",
    "float_parsing": "a number",
    "bool_parsing": "true or false",
    "greater_than_equal": "{ge} or more",
    "less_than_equal": "{le} or less",
    "pattern_regex": "regular expressions",
    "path_not_directory": "an existing folder",
    "path_not_file": "an existing file",
}


def reason(problem: Mapping[str, Any], allowed: Sequence[object] = ()) -> str:
    """Return what was expected of a value.

    Args:
        problem: One of the errors of a `pydantic.ValidationError`.
        allowed: The values that there are for it, where it has to be one of several.
    """
    kind = problem["type"]
    if kind == "literal_error":
        *others, last = map(str, allowed)
        nearest = difflib.get_close_matches(str(problem["input"]).lower(), [*others, last], n=1)
        hint = f", did you mean {nearest[0]}?" if nearest else ""
        return f"expected {', '.join(others)} or {last}{hint}"
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind].format(**problem.get('ctx', {}))}"
    return str(problem["msg"]).removeprefix("Value error, ")
