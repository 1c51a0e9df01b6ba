"""Changes that cannot be: each is refused with the reason, and nothing is changed but the audit trail."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests

from tests.support.changing import NAME, make_version, traffic
from tests.support.deployments import deployed
from tests.support.evidence import assert_error, audit_of
from tests.support.service import Service, wait_until

BROKEN_LATER = """\
import pathlib

assert pathlib.Path({flag!r}).exists(), "the flag is gone"


def handle(data, context):
    return None if data is None else [row["body"] for row in data]
"""
#: Versions beside 1.0, which has all requests: 6.0 does not come up again, 7.0 was released once and is gone.
OTHERS = ("2.0", "3.0", "4.0", "5.0", "6.0", "7.0")


class Refusal(NamedTuple):
    """A change and its refusal.

    Attributes:
        request: Method and path.
        status: Of the answer.
        error_type: Its type.
        said: What its message contains.
        body: A routing table.
        parameters: In the query.
        action: What the audit trail calls it.
    """

    request: str
    status: int
    error_type: str
    said: str
    body: Any = None
    parameters: dict[str, str] | None = None
    action: str = "traffic"


def table(*weights: tuple[str, Any], **more: Any) -> dict[str, Any]:
    """Return a routing table."""
    return {"routes": [{"version": version, "weight": weight} for version, weight in weights], **more}


HALF = table(("2.0", 50), ("1.0", 50))
NO_VERSION, BAD, CONFLICT = "WorkflowVersionNotFoundException", "BadRequestException", "ConflictStatusException"
TRAFFIC, DEFAULT = f"PUT /workflows/{NAME}/traffic", f"PUT /workflows/{NAME}/{{}}/set-default"
UNKNOWN = f"Workflow version: 9 does not exist for workflow: {NAME}"
SIX = [(version, weight) for version, weight in zip(("1.0", *OTHERS), (50, 10, 10, 10, 10, 10), strict=False)]
CASES = {
    "share of an unknown version": Refusal(TRAFFIC, 404, NO_VERSION, UNKNOWN, table(("9", 50), ("1.0", 50))),
    "unknown default": Refusal(DEFAULT.format("9"), 404, NO_VERSION, UNKNOWN, action="set-default"),
    "weights of 99": Refusal(TRAFFIC, 400, BAD, "99", table(("2.0", 49), ("1.0", 50))),
    "weights of 101": Refusal(TRAFFIC, 400, BAD, "101", table(("2.0", 51), ("1.0", 50))),
    "six versions": Refusal(TRAFFIC, 400, BAD, "5", table(*SIX)),
    "negative weight": Refusal(TRAFFIC, 400, BAD, "-1", table(("2.0", -1), ("1.0", 101))),
    "negative weight in short": Refusal(TRAFFIC, 400, BAD, "-1", parameters={"version": "2.0", "weight": "-1"}),
    "weight that is no whole number": Refusal(TRAFFIC, 400, BAD, "weight", table(("2.0", 0.5), ("1.0", 99.5))),
    "version named twice": Refusal(TRAFFIC, 400, BAD, "1.0", table(("1.0", 50), ("1.0", 50))),
    "no routes": Refusal(TRAFFIC, 400, BAD, "routes", {"routes": []}),
    "no object": Refusal(TRAFFIC, 400, BAD, "object", [1]),
    "mirror of an unknown version": Refusal(
        TRAFFIC, 404, NO_VERSION, UNKNOWN, table(("1.0", 100), mirror={"version": "9", "percent": 5})
    ),
    "mirror that has a share": Refusal(
        TRAFFIC, 400, BAD, "1.0", table(("1.0", 100), mirror={"version": "1.0", "percent": 5})
    ),
    "guard without a bound": Refusal(TRAFFIC, 400, BAD, "guard", {**HALF, "guard": {"windowSeconds": 5}}),
    "steps of one version": Refusal(TRAFFIC, 400, BAD, "steps", table(("1.0", 100), steps=[{"weight": 100}])),
    "unknown key": Refusal(TRAFFIC, 400, BAD, "miror", table(("1.0", 100), miror=None)),
    "share of one that does not come up": Refusal(
        TRAFFIC, 409, CONFLICT, "the flag is gone", table(("6.0", 5), ("1.0", 95))
    ),
    "default that does not come up": Refusal(
        DEFAULT.format("6.0"), 409, CONFLICT, "the flag is gone", action="set-default"
    ),
    "removal of the default": Refusal(
        f"DELETE /workflows/{NAME}/1.0", 409, CONFLICT, "1.0", action="unregister-version"
    ),
    "removal of an unknown version": Refusal(
        f"DELETE /workflows/{NAME}/9", 404, NO_VERSION, UNKNOWN, action="unregister-version"
    ),
    "rollback to a version that is gone": Refusal(
        f"POST /workflows/{NAME}/rollback", 409, CONFLICT, "7.0", parameters={"to": "2"}, action="rollback"
    ),
    "rollback to no release": Refusal(
        f"POST /workflows/{NAME}/rollback", 404, "", "99", parameters={"to": "99"}, action="rollback"
    ),
    "rollout where none is": Refusal(
        f"POST /workflows/{NAME}/rollout", 409, CONFLICT, NAME, parameters={"action": "promote"}, action="rollout"
    ),
    "taken version": Refusal(
        "POST /workflows",
        409,
        CONFLICT,
        f"Workflow version 2.0 is already registered for workflow {NAME}",
        parameters={"url": f"{NAME}-2.0.war", "version": "2.0"},
        action="register-version",
    ),
    "workers beyond the most": Refusal(
        f"PUT /workflows/{NAME}",
        400,
        BAD,
        "max_worker cannot be less than min_worker.",
        parameters={"min_worker": "3", "max_worker": "2"},
        action="scale",
    ),
    "unknown node": Refusal(
        f"PUT /workflows/{NAME}/nodes/m9",
        404,
        "WorkflowNodeNotFoundException",
        "m9",
        parameters={"batch_size": "2"},
        action="update",
    ),
    "batch of none": Refusal(
        f"PUT /workflows/{NAME}/nodes/m1", 400, BAD, "batch_size", parameters={"batch_size": "0"}, action="update"
    ),
    "no parameter": Refusal(f"PUT /workflows/{NAME}/nodes/m1", 400, BAD, "batch_size", action="update"),
    "misspelt parameter": Refusal(
        f"PUT /workflows/{NAME}", 400, BAD, "min_worker", parameters={"min_workers": "2"}, action="scale"
    ),
}
RESERVED = (
    *("all", "latest", "default", "versions", "releases", "rollback", "traffic", "rollout", "nodes", "diff"),
    *("explain", "graph", "logs", "samples", "-x", "a b", "a/b", "x" * 65, "é"),
)


@pytest.fixture(name="refusing", scope="module")
def _refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a deployment with five versions that come up, of which the first has all requests, and one that does not."""
    folder: Path = tmp_path_factory.mktemp("refusing")
    flag = folder / "flag"
    flag.touch()
    with deployed(folder / "instance", web_workers=2, standby_s=1) as service:
        assert service.register(make_version(service, "1.0")).status_code == 200
        for version in OTHERS:
            model = {"model": BROKEN_LATER.format(flag=str(flag))} if version == "6.0" else {}
            file = make_version(service, version, **model)
            assert service.register(file, version=version).status_code == 200
        assert traffic(service, table(("7.0", 10), ("1.0", 90))).status_code == 200
        assert traffic(service, table(("1.0", 100))).status_code == 200
        url = f"{service.management}/workflows/{NAME}"
        assert requests.delete(f"{url}/7.0", timeout=60).status_code == 200
        wait_until(
            lambda: requests.get(f"{url}/6.0", timeout=10).json()[0]["state"] == "parked", timeout_s=30, what="parking"
        )
        flag.unlink()
        yield service


def holdings(service: Service) -> list[str]:
    """Return all that the database holds, but for the sign of life, and what is recorded of requests."""
    left_out = ("audit_event", "heartbeat", "idempotency_key", "operation")
    with closing(sqlite3.connect(service.database)) as connection:
        return [line for line in connection.iterdump() if not any(f'INTO "{each}"' in line for each in left_out)]


def assert_refused(service: Service, case: Refusal) -> None:
    """Send a change; check its refusal, what is left of it, and that nothing else is."""
    before = holdings(service)
    method, path = case.request.split()
    answer = requests.request(method, f"{service.management}{path}", params=case.parameters, json=case.body, timeout=60)
    assert_error(answer, case.status, case.error_type or answer.json()["type"], "")
    assert case.said in answer.json()["message"], answer.text
    assert holdings(service) == before
    (event,) = audit_of(service, answer)
    assert (event["action"], event["outcome"], event["actor"]) == (case.action, "failed", "anonymous")
    assert event["workflow"] == NAME
    assert event["detail"]["error"]["message"] == answer.json()["message"]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_change_that_cannot_be_is_refused_and_changes_nothing(refusing: Service, case: Refusal) -> None:
    """A 4xx names what is wrong, one event of it is audited, and the registry is as it was."""
    assert_refused(refusing, case)


@pytest.mark.parametrize("version", RESERVED, ids=ascii)
def test_name_that_is_none_for_a_version_is_refused(refusing: Service, version: str) -> None:
    """Words that mean something in paths, and texts that paths cannot have."""
    parameters = {"url": f"{NAME}-2.0.war", "version": version}
    before = holdings(refusing)
    answer = requests.post(f"{refusing.management}/workflows", params=parameters, timeout=60)
    assert_error(answer, 400, BAD, "")
    assert version[:20] in answer.json()["message"]
    assert holdings(refusing) == before
    (event,) = audit_of(refusing, answer)
    assert event["outcome"] == "failed"


def test_refused_changes_left_the_workflow_as_it_was(refusing: Service) -> None:
    """It is served by the first version, and the trail is whole."""
    answer = requests.post(f"{refusing.inference}/wfpredict/{NAME}", data=b"x", timeout=20)
    assert (answer.status_code, answer.text) == (200, "1.0")
    assert refusing.command("audit", "verify").returncode == 0
