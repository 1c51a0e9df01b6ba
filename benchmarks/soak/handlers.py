"""What runs in the workers: carries each request's token through the graph, and misbehaves when a request asks for it.

The file goes into every archive, so it knows nothing of the service. From node to node goes one text,
`token|deed|trail|pad`: who asks, what is to happen, which nodes it has passed, and a body that has to stay what it is.
A deed is a word and the node that is meant, as in `raise@m`.
"""

import contextlib
import ctypes
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

LONG_ANSWER_BYTES = 200_000
_PARTS = 4
_NAP_S = 0.05
_SLEEP_S = 30.0
_CHILD_S = 10.0
_EXIT_CODE = 3


class PredictionException(Exception):
    """Refuses a request with a status; the name and the attributes are torchserve's."""

    def __init__(self, message: str, error_code: int) -> None:
        super().__init__(message)
        self.message = message
        self.error_code = error_code


def handle(data: list[dict[str, Any]] | None, context: Any) -> list[str] | None:  # noqa: ANN401 - the service's own
    """Answer a batch: each text with this node at the end of its trail."""
    if data is None:
        return None
    answers = []
    for item in data:
        token, deed, trail, pad = _received(item)
        word, _, node = deed.partition("@")
        is_meant = context.model_name.endswith(f"__{node}")
        if is_meant and word in _DEEDS:
            _DEEDS[word]()
        if is_meant and word == "long":
            pad = token * (LONG_ANSWER_BYTES // len(token))
        if not (is_meant and word == "count"):
            step = f"{trail}>{context.model_name}" if trail else context.model_name
            answers.append(f"{token}|{deed}|{step}|{pad}")
    return answers


pre = post = join = handle


def _received(item: Mapping[str, Any]) -> list[str]:
    """Return token, deed, trail and pad of one request, however it came."""
    if "token" in item:
        return [_text(item["token"]), _text(item.get("deed", "")), "", _text(item.get("pad", ""))]
    body = item.get("body")
    if isinstance(body, dict):
        return [str(body["token"]), str(body["deed"]), "", str(body["pad"])]
    if body is not None:
        return _split(_text(body))
    # What parents disagree about shows in the answer, as both versions of it.
    parents = [_split(_text(value)) for _, value in sorted(item.items())]
    tokens, deeds, trails, pads = zip(*parents, strict=True)
    return ["+".join(sorted(set(tokens))), "+".join(sorted(set(deeds))), "+".join(trails), "+".join(sorted(set(pads)))]


def _split(text: str) -> list[str]:
    parts = text.split("|", _PARTS - 1)
    return parts + [""] * (_PARTS - len(parts))


def _text(value: str | bytes | bytearray) -> str:
    return value if isinstance(value, str) else value.decode()


def _raise() -> None:
    raise ValueError(f"on purpose, in {__file__}")


def _refuse() -> None:
    raise PredictionException("refused on purpose", 422)


def _print() -> None:
    print("x" * 1_000_000)
    print("\n".join(["y" * 200] * 5_000))


def _fork() -> None:
    """Leave a child in the worker's process group, which has all that the worker has, for a while."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    if os.fork() == 0:
        time.sleep(_CHILD_S)
        os._exit(0)


def _stray() -> None:
    """Leave a grandchild in a session of its own, without a parent."""
    child = os.fork()
    if child == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(_CHILD_S)
        os._exit(0)
    os.waitpid(child, 0)


_DEEDS: dict[str, Callable[[], object]] = {
    "sleep": lambda: time.sleep(_SLEEP_S),
    "nap": lambda: time.sleep(_NAP_S),
    "raise": _raise,
    "refuse": _refuse,
    "exit": lambda: os._exit(_EXIT_CODE),
    "segfault": lambda: ctypes.string_at(0),
    "print": _print,
    "fork": _fork,
    "stray": _stray,
}
