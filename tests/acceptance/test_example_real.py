"""The example with a real model, in a service that has the model's libraries and in one that has not."""

import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.example_real import VENV
from tests.support.service import CHECKOUT, Service, wait_until

TICKETS = {
    "billing": "Why was my card debited twice?",
    "delivery": "When does my parcel arrive?",
    "returns": "I want to send the shoes back and get a refund.",
    "account": "I cannot log in with my password.",
    "fault": "The screen of my new laptop stays black.",
}
_START_S = 120.0

pytestmark = pytest.mark.example_real


@pytest.fixture(name="stores", scope="module")
def _stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Build the example, as its users do."""
    folder = tmp_path_factory.mktemp("stores")
    stores = {"workflow_store": folder / "workflow_store", "model_store": folder / "model_store"}
    environment = {**os.environ, **{f"WFMGMT_{name.upper()}": str(path) for name, path in stores.items()}}
    subprocess.run([VENV / "bin/python", "examples/real/build.py"], cwd=CHECKOUT, env=environment, check=True)
    return stores


@pytest.fixture(name="service", scope="module")
def _service(tmp_path_factory: pytest.TempPathFactory, stores: dict[str, Any]) -> Iterator[Service]:
    """Run a service in the environment of the example, with the example registered."""
    service = Service(tmp_path_factory.mktemp("real") / "instance", **stores)
    service.command_line[0] = str(VENV / "bin/python")
    with service:
        answer = service.register("tickets.war")
        assert answer.ok, answer.text
        yield service


def ask(service: Service, text: str) -> tuple[int, dict[str, Any]]:
    """Return the status and the content of an answer."""
    answer = requests.post(f"{service.inference}/wfpredict/tickets", data=text.encode(), timeout=60)
    return answer.status_code, answer.json()


def test_tickets_go_where_they_belong_alone_and_in_batches(service: Service) -> None:
    """Many at a time go through the models together, and each gets the answer that it gets alone."""
    alone = {text: ask(service, text) for text in TICKETS.values()}
    assert {text: answer["queue"] for text, (_, answer) in alone.items()} == {v: k for k, v in TICKETS.items()}
    with ThreadPoolExecutor(16) as clients:
        texts = list(TICKETS.values()) * 8
        together = list(clients.map(lambda text: ask(service, text), texts))
    for text, (status, answer) in zip(texts, together, strict=True):
        assert status == 200
        # Sums in another order differ in the last digits.
        assert answer == {**alone[text][1], "probability": pytest.approx(alone[text][1]["probability"], abs=0.002)}


@pytest.mark.parametrize("text", ["", "> only a quotation", "schöne grüße ☀ " * 5000], ids=["none", "quoted", "long"])
def test_odd_tickets_are_answered(service: Service, text: str) -> None:
    """Without a word, and with more words than the model reads."""
    status, answer = ask(service, text)
    assert status == 200
    assert answer["queue"] in {*TICKETS, "person"}


def test_real_model_is_there_after_a_crash(service: Service) -> None:
    """The service is killed and started again, and answers as before."""
    text = TICKETS["returns"]
    before = ask(service, text)
    service.kill()
    service.start()
    assert wait_until(lambda: ask(service, text), timeout_s=_START_S) == before


def test_missing_library_is_named(tmp_path: Path, stores: dict[str, Any]) -> None:
    """A service in an environment without the model's libraries refuses the workflow, and says what it lacks."""
    service = Service(tmp_path / "instance")
    for name in ("workflow_store/tickets.war", "model_store/embed.mar", "model_store/classify.mar"):
        (service.instance / name).hardlink_to(stores["model_store"].parent / name)
    with service:
        answer = service.register("tickets.war")
        assert "No module named 'sentence_transformers'" in answer.json()["message"]
        assert service.names() == []
