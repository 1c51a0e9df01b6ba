"""The end of the service: nothing new, what is under way is answered or undone, and no process stays."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.evidence import rows
from tests.support.processes import web_workers
from tests.support.service import Service, pids_of, wait_until
from tests.support.slow_workflow import in_background, make_slow_workflow

#: How soon everything has to be gone.
STOP_S = 10.0
#: Longer than gunicorn's master waits for web workers that it replaces.
GUNICORN_WAITS_S = 8.0


@pytest.fixture(name="service")
def _service(prepared: Service) -> Service:
    return prepared


@pytest.fixture(name="gate")
def _gate(service: Service, tmp_path: Path) -> Path:
    return make_slow_workflow(service, tmp_path / "gate")


def end(service: Service, signal_number: signal.Signals | None, *, whole_group: bool = False) -> int:
    """Send a signal, unless it was sent already, and return the exit code.

    Raises:
        AssertionError: The end took too long, or something is still running.
    """
    process = service.process
    assert process is not None
    began = time.monotonic()
    if signal_number is not None:
        (os.killpg if whole_group else os.kill)(process.pid, signal_number)
    code = process.wait(STOP_S)
    wait_until(lambda: pids_of(service.instance) == [], timeout_s=began + STOP_S - time.monotonic(), what="the end")
    return code


@pytest.mark.parametrize(
    "signal_number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)], ids=str
)
def test_signal_undoes_a_registration_that_does_not_finish(
    service: Service, gate: Path, signal_number: signal.Signals
) -> None:
    """The response and the audit trail say why, and the name is free."""
    service.start()
    with in_background(service, "slow.war") as answer:
        assert end(service, signal_number) == 0
        assert answer.result(1).status_code == 503
        assert answer.result().json()["type"] == "ServiceUnavailableException"
    assert rows(service, "SELECT status FROM v_workflow") == []
    assert rows(service, "SELECT action, outcome FROM audit_event") == [("register", "failed")]


def test_sigterm_answers_a_registration_that_finishes_soon(service: Service, gate: Path) -> None:
    """What becomes ready within the grace is answered 200, and stays registered."""
    service.start()
    with in_background(service, "slow.war") as answer:
        assert service.process is not None
        service.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "Handling signal: term" in service.text_of_log(), what="the signal's arrival")
        gate.unlink()
        assert answer.result(STOP_S).status_code == 200
    assert end(service, None) == 0
    assert rows(service, "SELECT name, status FROM v_workflow") == [("slow", "ready")]


def replace_web_workers(service: Service) -> None:
    """Send SIGHUP, and return when new web workers serve and gunicorn no longer waits for the old ones."""
    assert service.process is not None
    before = set(web_workers(service))
    service.process.send_signal(signal.SIGHUP)
    wait_until(lambda: len(set(web_workers(service)) - before) == 2, what="new web workers")
    patience_over = time.monotonic() + GUNICORN_WAITS_S
    wait_until(lambda: time.monotonic() > patience_over, timeout_s=2 * GUNICORN_WAITS_S)


def test_sighup_lets_a_registration_finish(service: Service, gate: Path) -> None:
    """It may take longer than gunicorn would wait: the old web worker stays for it, and new ones serve."""
    service.start()
    with in_background(service, "slow.war") as answer:
        replace_web_workers(service)
        assert not answer.done()
        assert service.names() == []
        gate.unlink()
        assert answer.result(20).status_code == 200
    wait_until(lambda: len(web_workers(service)) == 2, what="the end of the old web worker")
    assert service.names() == ["slow"]
    assert end(service, signal.SIGTERM) == 0


def test_sigterm_ends_a_registration_of_a_web_worker_that_was_replaced(service: Service, gate: Path) -> None:
    """The service stops in time, and the response says why."""
    service.start()
    with in_background(service, "slow.war") as answer:
        replace_web_workers(service)
        assert end(service, signal.SIGTERM) == 0
        assert answer.result(1).status_code == 503
    assert rows(service, "SELECT 1 FROM workflow") == []


@pytest.mark.slow
def test_sigterm_ends_a_service_with_loaded_models(service: Service) -> None:
    """Master, web workers, runtime, forkserver and workers are gone, with exit code 0.

    So they are in the quick `test_sighup_lets_a_registration_finish`.
    """
    service.start()
    assert service.register("seq.war").status_code == 200
    assert len(pids_of(service.instance)) >= 7
    assert end(service, signal.SIGTERM) == 0


def interrupt(service: Service) -> None:
    """Do what Ctrl-C in a terminal does: interrupt make and all its children at once."""
    end(service, signal.SIGINT, whole_group=True)


def terminate(service: Service) -> None:
    """Do what a supervisor does: terminate make alone."""
    end(service, signal.SIGTERM)


@pytest.mark.parametrize("stop", [interrupt, pytest.param(terminate, marks=pytest.mark.slow)])
def test_make_serve_stops_everything_that_it_started(service: Service, stop: Callable[[Service], None]) -> None:
    """Ctrl-C and SIGTERM leave nothing running; the exit code of make itself does not matter."""
    venv = Path(sys.prefix)
    service.command_line = ["make", f"VENV={venv}", f"--old-file={venv}/.runtime", "serve"]
    service.start()
    assert service.register("seq.war").status_code == 200
    stop(service)
