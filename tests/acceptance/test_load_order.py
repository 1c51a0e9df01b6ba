"""A start with workflows that hang in loading: they keep nobody waiting who comes up."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

from tests.support.factories import make_mar, make_war
from tests.support.service import Service, wait_until
from wfmgmt.serving.load_order import LAST_LANE

GOOD = [f"z{number}" for number in range(40)]
HANGING = [f"a{number}" for number in range(20)]
#: A model that notes when it is being loaded, and hangs while a file is there if its workflow's name says so.
SOURCE = """\
import os, time
def initialize(context):
    name = context.model_name.partition("__")[0]
    with open({notes!r}, "a") as notes:
        print(name, file=notes)
    while name.startswith("a") and os.path.exists({gate!r}):
        time.sleep(0.1)
class Handler:
    def initialize(self, context):
        initialize(context)
    def handle(self, data, context):
        return [row["body"] for row in data]
"""
#: A start-up time that no workflow reaches within the test.
STARTUP_S = 600


def test_hanging_loads_keep_no_workflow_waiting(tmp_path: Path) -> None:
    """Twenty hang, first in the order of names; forty good ones are soon up, and next time before the others.

    What hung comes up as soon as it can, without another start.
    """
    service = Service(tmp_path / "instance")
    gate, notes = tmp_path / "gate", tmp_path / "notes"
    make_war(service.workflow_store, name="w", spec="models: {m: {url: m.mar}}\ndag: {m: []}\n", handler=None)
    make_mar(service.model_store, name="m", source=SOURCE.format(notes=str(notes), gate=str(gate)))
    with service:
        with ThreadPoolExecutor(4) as threads:
            answers = list(threads.map(lambda name: register(service, name), GOOD + HANGING))
        assert {answer.status_code for answer in answers} == {200}, [answer.text for answer in answers]
        gate.touch()
        for _ in range(2):
            service.stop()
            notes.write_text("", encoding="ascii")
            service.start()
            wait_until(lambda: missing(service) <= set(HANGING), timeout_s=90, what="the good workflows")
            wait_until(lambda: set(loaded(notes)) == {*GOOD, *HANGING} or is_bounded(notes), timeout_s=90)
        # What hung last time is loaded when the good ones have had their turn.
        assert not set(loaded(notes)[:20]) & set(HANGING)
        gate.unlink()
        wait_until(lambda: not missing(service), timeout_s=90, what="all workflows")


def register(service: Service, name: str) -> requests.Response:
    """Register the workflow under a name."""
    return service.register("w.war", workflow_name=name, startup_timeout=STARTUP_S)


def missing(service: Service) -> set[str]:
    """Return the workflows that the runtime does not have up."""
    answer = requests.get(f"{service.inference}/ping", timeout=30)
    return set(answer.json().get("notReady", ())) if answer.status_code == 200 else {*GOOD, *HANGING}


def loaded(notes: Path) -> list[str]:
    """Return the workflows whose loading was begun, in that order."""
    return notes.read_text(encoding="ascii").split()


def is_bounded(notes: Path) -> bool:
    """Tell whether as many of those that hang are being loaded as may be in a lane of their own."""
    return len(set(loaded(notes)) & set(HANGING)) == LAST_LANE[1]
