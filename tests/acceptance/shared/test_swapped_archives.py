"""Archives that are swapped while they are registered: what runs is what the registration says."""

import hashlib
import os
from pathlib import Path

import pytest
import requests

from tests.support.evidence import described_with_workers, nothing_left
from tests.support.factories import make_mar, make_war
from tests.support.service import Service
from tests.support.swaps import WAYS, swapped

SWAPS = 100
MODEL_SPEC = "models:\n  m: {url: swapped.mar}\ndag: {m: []}\n"
FUNCTION_SPEC = "dag: {f: []}\n"


def handler(name: str) -> str:
    """Return the source of a function that tells which archive it comes from."""
    return f"def f(data, context):\n    return None if data is None else ['{name}'] * len(data)\n"


def contents(folder: Path, kind: str) -> tuple[bytes, bytes]:
    """Return two archives that differ, with enough in them that reading takes a while."""
    padding = {"padding": os.urandom(300_000)}

    def make(name: str) -> bytes:
        if kind == "mar":
            return make_mar(folder, handler="h.py:f", source=handler(name), extra_files=padding).read_bytes()
        return make_war(folder, spec=FUNCTION_SPEC, handler=handler(name), extra_files=padding).read_bytes()

    return make("first"), make("other")


@pytest.mark.parametrize("kind", ["mar", "war"])
@pytest.mark.parametrize("way", WAYS)
def test_what_runs_is_what_was_registered(service: Service, tmp_path: Path, way: str, kind: str) -> None:
    """Under swaps of every kind a registration is refused, or describes and runs one and the same archive."""
    store = service.model_store if kind == "mar" else service.workflow_store
    path = store / f"swapped.{kind}"
    both = contents(tmp_path, kind)
    names = {hashlib.sha256(content).hexdigest(): name for content, name in zip(both, ("first", "other"), strict=True)}
    url = "swapped.war"
    with nothing_left(service):
        path.write_bytes(both[0])
        if kind == "mar":
            make_war(service.workflow_store, name="swapped", spec=MODEL_SPEC, handler=None)
        registered = 0
        with swapped(path, both, way) as swaps:
            while swaps() < SWAPS or not registered:
                answer = service.register(url, workflow_name="swapped")
                if answer.status_code != 200:
                    assert answer.json()["type"] in {"InvalidWorkflowException", "WorkflowException"}, answer.text
                    continue
                registered += 1
                described = described_with_workers(service, "swapped")
                digest = described["nodes"][0]["digest"] if kind == "mar" else described["archiveSha256"]
                predicted = requests.post(f"{service.inference}/wfpredict/swapped", data="x", timeout=10)
                assert predicted.text == names[digest]
                assert service.unregister("swapped").status_code == 200
        path.unlink()
        (service.workflow_store / "swapped.war").unlink(missing_ok=True)
        for left in store.glob(".swapped.*.new"):
            left.unlink()
