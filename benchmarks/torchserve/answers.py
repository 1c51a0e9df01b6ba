"""Whether both servers answer the same: what differs in its answers cannot be compared in its speed."""

import json

from benchmarks.torchserve.comparison import Comparison
from benchmarks.torchserve.contest import Contest, Terms, wait_for_answer

_WORKFLOWS = ("sequential", "parallel", "leaves", "single")
_BODIES = (b"good", b"  A BAD and sad day ", "schöne grüße, happy ☀".encode(), b"word " * 1000)


class AnswersDiffer(Exception):
    """The servers do not answer the same."""


def comparing(contest: Contest, terms: Terms) -> list[Comparison]:  # noqa: ARG001 - every part is called like this
    """Send the same texts to the same workflows of both servers.

    Raises:
        AnswersDiffer: Two answers are not the same JSON value.
    """
    with contest.run(*_WORKFLOWS) as servers:
        for workflow in _WORKFLOWS:
            for body in _BODIES:
                answers = {
                    name: json.loads(wait_for_answer(server, workflow, body)) for name, server in servers.items()
                }
                if any(answer != answers[contest.names[0]] for answer in answers.values()):
                    raise AnswersDiffer(f"{workflow} of {body[:40]!r}: {answers}")
    return []
