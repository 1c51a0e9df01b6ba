"""The record of refused requests."""

import logging

import pytest

from wfmgmt.http.refusals import LOG_INTERVAL_S, MAX_SENDERS, Refusals

LOG = logging.getLogger("wfmgmt.test")


def test_thousands_of_refusals_are_counted_and_make_a_line_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    """The first is logged at once; the next line says how many there were in between."""
    counted: list[str] = []
    now = [100.0]
    refusals = Refusals(LOG, counted.append, clock=lambda: now[0])

    def refuse() -> None:
        refusals.record("host", "because", client="127.0.0.1", request_id="r1")

    for _ in range(1000):
        refuse()
    now[0] += LOG_INTERVAL_S
    refuse()
    now[0] += LOG_INTERVAL_S
    refuse()
    assert counted == ["host"] * 1002
    line = "refused a request from 127.0.0.1: because"
    assert [record.getMessage() for record in caplog.records] == [
        line,
        f"{line} (999 more were refused since the last such line)",
        line,
    ]


def test_each_new_sender_gets_a_line_of_its_own_up_to_a_bound(caplog: pytest.LogCaptureFixture) -> None:
    """A page that goes through thousands of names fills no log, and hides the others for ten seconds at most."""
    now = [100.0]
    refusals = Refusals(LOG, lambda _check: None, clock=lambda: now[0])

    def refuse(name: str) -> None:
        refusals.record("host", name, client="127.0.0.1", request_id="r1")

    for number in range(MAX_SENDERS + 5):
        for _ in range(2):
            refuse(f"n{number}")
    line = "refused a request from 127.0.0.1: n"
    assert len(caplog.messages) == MAX_SENDERS
    assert [message.split(" (")[0] for message in caplog.messages] == [
        f"{line}{number}" for number in range(MAX_SENDERS)
    ]
    now[0] += LOG_INTERVAL_S
    refuse("n33")
    assert caplog.messages[-1] == f"{line}33 (11 more were refused since the last such line)"
