"""How long it takes to apply a declaration, and to see that nothing differs from it."""

import statistics
import time
from pathlib import Path
from typing import Any

import requests

from benchmarks.figures import Figure
from benchmarks.load import IDLE_SPEC
from tests.support.factories import make_mar, make_war
from tests.support.service import Service

WORKFLOWS, TURNS, MAX_APPLY_S = 1000, 5, 600
DECLARED: dict[str, Any] = {
    "wfmgmt": 1,
    "workflows": {f"w{number:04}": {"versions": {"1.0": {"url": "seq.war"}}} for number in range(WORKFLOWS)},
}


def applying(folder: Path) -> list[Figure]:
    """Apply a declaration of 1,000 workflows without workers, and the same again."""
    service = Service(folder)
    make_mar(service.model_store)
    make_war(service.workflow_store, spec=IDLE_SPEC, handler=None)
    with service:
        first_s = _seconds(service, synchronous="false")
        again_s = statistics.median(_seconds(service) for _ in range(TURNS))
        began = time.monotonic()
        assert requests.get(f"{service.management}/drift", timeout=60).json() == {"drift": []}
        drift_s = time.monotonic() - began
    return [
        Figure(what=f"{WORKFLOWS} workflows without workers applied", value=first_s, unit="s"),
        Figure(what=f"the same again, median of {TURNS}", value=again_s, unit="s", at_most=1),
        Figure(what="their drift", value=drift_s, unit="s"),
    ]


def _seconds(service: Service, **parameters: str) -> float:
    """Apply, and return how long it took."""
    began = time.monotonic()
    answer = requests.post(f"{service.management}/apply", params=parameters, json=DECLARED, timeout=MAX_APPLY_S)
    answer.raise_for_status()
    operation = answer.json().get("operation")
    while operation and not requests.get(f"{service.management}{operation}?wait=10", timeout=30).json()["done"]:
        assert time.monotonic() - began < MAX_APPLY_S
    return time.monotonic() - began
