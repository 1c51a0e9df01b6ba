"""The workflows of the soak: their archives, and which nodes an answer of each has to have passed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.soak import handlers
from tests.support.factories import make_mar, make_war
from tests.support.service import Service

#: Longest run of one call in the workflow that misbehaves, in ms.
SHORT_TIMEOUT_MS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class SoakedWorkflow:
    """One workflow.

    Attributes:
        name: As it is registered.
        archive: File name in the workflow store.
        weight: Its share of the requests on mixed connections, relative to the others'.
        processes: Workers that it has while nobody asks anything.
        trails: Leaf to the nodes before it and itself, as the handlers write them down; `W` stands for the name.
        deeds: What its requests may ask for, and in its place nothing.
    """

    name: str
    archive: str
    weight: int
    processes: int
    trails: Mapping[str, str]
    deeds: tuple[str, ...] = ("",)

    def answer(self, token: str, deed: str, pad: str) -> bytes:
        """Return the whole answer that a request has to get when all goes well."""
        word = deed.partition("@")[0]
        text = token * (handlers.LONG_ANSWER_BYTES // len(token)) if word == "long" else pad
        texts = {leaf: f"{token}|{deed}|{trail.replace('W', self.name)}|{text}" for leaf, trail in self.trails.items()}
        if len(texts) == 1:
            return next(iter(texts.values())).encode()
        return (
            "{" + ", ".join(f"{json.dumps(leaf)}: {json.dumps(text)}" for leaf, text in texts.items()) + "}"
        ).encode()


_IN_A_ROW = {"post": "W__pre>W__m>W__post"}
_MISCHIEF = (
    *[""] * 8,
    *(
        "raise@m",
        "raise@pre",
        "refuse@pre",
        "refuse@post",
        "exit@m",
        "exit@m",
        "exit@post",
        "segfault@m",
        "segfault@pre",
    ),
    *(
        "count@m",
        "count@post",
        "sleep@m",
        "sleep@pre",
        "print@m",
        "print@post",
        "fork@m",
        "fork@pre",
        "stray@m",
        "stray@post",
    ),
    *("long@m", "long@pre", "nap@m"),
)

NAUGHTY = SoakedWorkflow(
    name="naughty", archive="naughty.war", weight=0, processes=3, trails=_IN_A_ROW, deeds=_MISCHIEF
)
#: Those that are registered all the time.
STEADY = (
    NAUGHTY,
    SoakedWorkflow(name="row", archive="row.war", weight=20, processes=3, trails=_IN_A_ROW),
    SoakedWorkflow(
        name="joined",
        archive="joined.war",
        weight=15,
        processes=4,
        trails={"join": "W__pre>W__a+W__pre>W__b>W__join"},
    ),
    SoakedWorkflow(
        name="leaves",
        archive="leaves.war",
        weight=15,
        processes=4,
        trails={"a": "W__pre>W__a", "b": "W__pre>W__b", "c": "W__pre>W__c"},
    ),
    SoakedWorkflow(
        name="batched", archive="batched.war", weight=25, processes=1, trails={"m": "W__m"}, deeds=("", "", "nap@m")
    ),
    SoakedWorkflow(name="lazy", archive="lazy.war", weight=5, processes=0, trails={"m": "W__m"}),
)
#: Comes and goes during the run.
VISITOR = SoakedWorkflow(name="visitor", archive="row.war", weight=5, processes=3, trails=_IN_A_ROW)

_ROW_DAG = "dag: {pre: [m], m: [post]}"
_SPECS = {
    "row": f"models: {{max-workers: 2, m: {{url: m.mar}}}}\n{_ROW_DAG}",
    "joined": "models: {a: {url: m.mar}, b: {url: m.mar, batch-size: 2, max-batch-delay: 5}}\n"
    "dag: {pre: [a, b], a: [join], b: [join]}",
    "leaves": "models: {a: {url: m.mar}, b: {url: m.mar, max-workers: 2}, c: {url: m.mar}}\ndag: {pre: [a, b, c]}",
    "batched": "models: {m: {url: m.mar, batch-size: 4, max-batch-delay: 20, max-workers: 4}}\ndag: {m: []}",
    "lazy": "models: {m: {url: m.mar, min-workers: 0, max-workers: 2}}\ndag: {m: []}",
    "naughty": f"models: {{timeout-ms: {SHORT_TIMEOUT_MS}, batch-size: 2, max-batch-delay: 5, max-workers: 3, "
    f"m: {{url: m.mar}}}}\n{_ROW_DAG}",
}


def write_archives(service: Service) -> None:
    """Write the archives into the stores."""
    source = Path(handlers.__file__).read_text(encoding="utf-8")
    make_mar(service.model_store, name="m", source=source)
    for name, spec in _SPECS.items():
        make_war(service.workflow_store, name=name, spec=spec, handler=source)
