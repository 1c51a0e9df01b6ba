"""Changes that were neither finished nor undone, since the disk was full, when a registration needs their name."""

from collections.abc import Callable
from typing import Never

import pytest

from tests.support.management_api import ManagementApi, carrying_out
from wfmgmt.control.messages import WorkflowReport
from wfmgmt.domain.workflow import LoadRequest
from wfmgmt.errors import InsufficientStorage
from wfmgmt.http.answers import RECEIPT
from wfmgmt.registry.registry import Registry

REQUESTS = ("url=seq.war", "url=seq.war&workflow_name=seq", "url=other.war&workflow_name=seq")


def full_disk(*_: object, **__: object) -> Never:
    """Stand in for `Registry.write`."""
    raise InsufficientStorage("No space is left for the database.")


@pytest.mark.parametrize("request_", REQUESTS)
def test_registration_that_could_not_be_undone_is_undone_by_the_next(
    api: ManagementApi, monkeypatch: pytest.MonkeyPatch, request_: str
) -> None:
    """As soon as there is room; until then that is the answer, and not that the name is taken."""
    load = api.runtime.load

    def fill_disk(target: LoadRequest, *, cancelled: Callable[[], bool]) -> WorkflowReport:
        monkeypatch.setattr(Registry, "write", full_disk)
        return load(target, cancelled=cancelled)

    with monkeypatch.context() as patch:
        patch.setattr(api.runtime, "load", fill_disk)
        api.send("POST /workflows?url=seq.war", 507)
        assert api.send(f"POST /workflows?{request_}", 507)["type"] == "InsufficientStorageException"
    monkeypatch.undo()
    accepted = api.answer(f"POST /workflows?{request_}&synchronous=false", 202)
    assert RECEIPT not in accepted.headers  # Its own row is not there yet, only that of what it has undone.
    with carrying_out(api):
        api.send(f"GET {accepted.get_json()['operation']}?wait=30")
    assert [each["state"] for each in api.send("GET /operations")["operations"]] == ["succeeded", "failed"]
    assert api.events() == [("reconcile", "succeeded"), ("register", "succeeded")]


def test_removal_that_could_not_be_finished_is_finished_by_the_next_registration(
    api: ManagementApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client has asked for it, and needs the name."""
    api.register("1.0")
    unload = api.runtime.unload

    def fill_disk(uid: str, **_: object) -> None:
        monkeypatch.setattr(Registry, "write", full_disk)
        unload(uid)

    with monkeypatch.context() as patch:
        patch.setattr(api.runtime, "unload", fill_disk)
        api.send("DELETE /workflows/seq", 507)
        assert api.send("POST /workflows?url=seq.war", 507)["type"] == "InsufficientStorageException"
    monkeypatch.undo()
    api.send("POST /workflows?url=seq.war")
    assert api.describe()["version"] == "1.0"
