"""How explanations say things: durations, counts, saturation, and the one sentence that sums everything up."""

import shlex
from collections.abc import Sequence

from wfmgmt.domain.explaining.facts import ExplainedState, Facts, NodeFacts, Problem

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400
_STATES = {
    ExplainedState.READY: "is ready",
    ExplainedState.STANDBY: "is loaded, and only requests that name the version get to it",
    ExplainedState.PARKED: "is parked: it has no share of the requests, and is loaded when one names it",
    ExplainedState.LOADING: "is loading",
    ExplainedState.FAILED: "is not loaded and cannot answer",
    ExplainedState.UNKNOWN: "is registered, and how it is cannot be said now",
    ExplainedState.REGISTERING: "is being registered",
}


def duration(seconds: float) -> str:
    """Return a time in its largest unit: `40 s`, `3 min`."""
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    for limit, unit, name in ((2 * _MINUTE_S, 1, "s"), (2 * _HOUR_S, _MINUTE_S, "min"), (2 * _DAY_S, _HOUR_S, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / _DAY_S:.0f} days"


def amount(count: int, thing: str) -> str:
    """Return a number of things: `1 worker`, `2 workers`."""
    return f"{count} {thing}{'' if count == 1 else 's'}"


def workers_up(ready: int, wanted: int) -> str:
    """Return how many workers are up of how many: `0 of 1 worker up`; `2 workers up, 1 wanted` while some end."""
    if ready > wanted:
        return f"{amount(ready, 'worker')} up, {wanted} wanted"
    return f"{ready} of {amount(wanted, 'worker')} up"


def node_argument(name: str) -> str:
    """Return the name of a node as a shell takes it."""
    return shlex.quote(name)


def saturation(node: NodeFacts) -> str | None:
    """Return how busy a node is: `2 of 2 workers busy for 40 s, 37 waiting`; None when that is not known."""
    if node.queued is None:
        return None
    waiting = f", {node.queued} waiting"
    if node.busy_s is None:
        return f"{amount(node.ready, 'worker')} up{waiting}" if node.queued else "no request waits"
    return f"{node.ready} of {amount(node.ready, 'worker')} busy for {duration(node.busy_s)}{waiting}"


def summary(facts: Facts, problems: Sequence[Problem]) -> str:
    """Return all of it in one sentence."""
    subject = f"{facts.workflow} {facts.version} {_STATES[facts.state]}"
    if not problems:
        return f"{subject}; nothing is wrong."
    first = problems[0]
    where = "" if first.node is None else f"{first.node}: "
    what = f"{where}{first.what}".removesuffix(".")
    more = "" if len(problems) == 1 else f" (and {amount(len(problems) - 1, 'other problem')})"
    return f"{subject}; {what}{more}."
