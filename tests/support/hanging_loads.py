"""Starts with workflows that hang in loading, and when the others come up."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

from tests.support.factories import make_mar, make_war
from tests.support.service import Service, wait_until
from wfmgmt.serving.load_order import LAST_LANE

#: A model that notes when it is being loaded, and hangs while a file is there if its workflow's name says so.
SOURCE = """\
import os, time
def initialize(context):
    name = context.model_name.partition("__")[0]
    with open({notes!r}, "a") as notes:
        print(name, file=notes)
    while name.startswith("a") and os.path.exists({gate!r}):
        time.sleep(0.1)  # Between looks at the gate.
class Handler:
    def initialize(self, context):
        initialize(context)
    def handle(self, data, context):
        return [row["body"] for row in data]
"""
#: A start-up time that no workflow reaches within the test.
STARTUP_S = 600


def start_with_hanging_loads(folder: Path, *, good: int, hanging: int) -> None:
    """Start a service twice with workflows that hang, first in the order of names, and let them go on in the end.

    Raises:
        AssertionError: The good ones were not soon up, did not come before the others the second time, or what hung did
            not come up once it could.
    """
    service = Service(folder / "instance")
    gate, notes = folder / "gate", folder / "notes"
    make_war(service.workflow_store, name="w", spec="models: {m: {url: m.mar}}\ndag: {m: []}\n", handler=None)
    make_mar(service.model_store, name="m", source=SOURCE.format(notes=str(notes), gate=str(gate)))
    stuck = {f"a{number}" for number in range(hanging)}
    names = stuck | {f"z{number}" for number in range(good)}
    with service:
        with ThreadPoolExecutor(4) as threads:
            answers = list(threads.map(lambda name: _register(service, name), sorted(names)))
        assert {answer.status_code for answer in answers} == {200}, [answer.text for answer in answers]
        gate.touch()
        for _ in range(2):
            service.stop()
            notes.write_text("", encoding="ascii")
            service.start()
            wait_until(lambda: _missing(service, names) <= stuck, timeout_s=90, what="the good workflows")
            wait_until(
                lambda: set(_loaded(notes)) == names or len(set(_loaded(notes)) & stuck) == LAST_LANE[1],
                timeout_s=90,
                what="as many of those that hang as may be loaded in a lane of their own",
            )
            wait_until(
                lambda: _late(service) >= len(set(_loaded(notes)) & stuck),
                timeout_s=30,
                what="the record of those that hang",
            )
        # What hung last time is loaded when the good ones have had their turn.
        assert not set(_loaded(notes)[: min(good, hanging)]) & stuck
        gate.unlink()
        wait_until(lambda: not _missing(service, names), timeout_s=90, what="all workflows")


def _register(service: Service, name: str) -> requests.Response:
    return service.register("w.war", workflow_name=name, startup_timeout=STARTUP_S)


def _late(service: Service) -> int:
    """Return how many loads are recorded to take longer than they should."""
    recorded = json.loads((service.run_folder / "loads.json").read_bytes())
    return list(recorded.values()).count(None)


def _missing(service: Service, names: set[str]) -> set[str]:
    """Return the workflows that the runtime does not have up."""
    answer = requests.get(f"{service.inference}/ping", timeout=30)
    return set(answer.json().get("notReady", ())) if answer.status_code == 200 else names


def _loaded(notes: Path) -> list[str]:
    """Return the workflows whose loading was begun, in that order."""
    return notes.read_text(encoding="ascii").split()
