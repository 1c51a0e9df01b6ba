"""From the answers of the leaves to the answer that the client gets."""

import base64
import json
from collections.abc import Mapping

from wfmgmt.serving.models.base import Content, NodeAnswer
from wfmgmt.serving.predictions import NodeTrace

#: Header that says what happened at each node.
TRACE_HEADER = "x-wfmgmt-trace"
#: Header that names a version: on a request the one that is to answer, on an answer the one that did.
VERSION_HEADER = "x-workflow-version"
#: TorchServe's content type for answers of every kind.
DEFAULT_CONTENT_TYPE = "application/json"

_MAX_TRACE = 4096


def joined(answers: Mapping[str, NodeAnswer]) -> NodeAnswer:
    """Return the one answer to the client: that of the only leaf, or one JSON object with an entry per leaf.

    An entry is the JSON value that the leaf answered, else its text, else its bytes in base64. What several leaves say
    about their own answers in headers is not true of the object, so it is dropped.
    """
    if len(answers) == 1:
        (answer,) = answers.values()
        return answer
    entries = ", ".join(f"{json.dumps(name)}: {_json_value(answer.content)}" for name, answer in answers.items())
    return NodeAnswer(
        content=f"{{{entries}}}".encode(),
        status=max(answer.status for answer in answers.values()),
    )


def _json_value(content: Content) -> str:
    """Return the JSON text for what a leaf answered."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return json.dumps(base64.b64encode(content).decode("ascii"))
    try:
        json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return json.dumps(text)
    return text.strip()


def _refuse(constant: str) -> None:
    """Refuse NaN and the infinities, which are no JSON though Python reads them."""
    raise ValueError(constant)


def trace_text(traces: Mapping[str, NodeTrace]) -> str:
    """Return the value of the trace header: a JSON object of the nodes that were asked, as many as fit."""
    entries = [
        f"{json.dumps(node)}: "
        + json.dumps(
            {
                "queuedMs": round(trace.queued_s * 1000, 3),
                "runMs": round(trace.run_s * 1000, 3),
                "attempts": trace.attempts,
                "bytes": trace.size_bytes,
            }
        )
        for node, trace in traces.items()
    ]
    text = "{" + ", ".join(entries) + "}"
    if len(text) <= _MAX_TRACE:
        return text
    kept = entries[: _MAX_TRACE * len(entries) // len(text)]
    return "{" + ", ".join([*kept, f'"more": {len(entries) - len(kept)}']) + "}"
