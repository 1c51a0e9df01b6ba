"""Which version answers: traffic, rollouts, rollbacks, and what is shown of them."""

import json
from typing import Any

import pytest

from tests.support.management_api import ManagementApi
from wfmgmt.folders import remove_folder

CANARY = {"routes": [{"version": "1.0", "weight": 95}, {"version": "2.0", "weight": 5}]}
ROLLOUT = {
    **CANARY,
    "guard": {"maxErrorRate": 0.05},
    "steps": [{"weight": 5, "forSeconds": 300}, {"weight": 50, "forSeconds": 600}, {"weight": 100}],
    "reason": "new tokenizer",
}


def weights(api: ManagementApi) -> dict[str, int]:
    """Return the shares in force."""
    return {route["version"]: route["weight"] for route in api.send("GET /workflows/seq/traffic")["routes"]}


def numbers(api: ManagementApi) -> list[int]:
    """Return the numbers of all releases, the newest first."""
    return [release["number"] for release in api.send("GET /workflows/seq/releases")["releases"]]


def test_table_is_put_in_force_as_one_release(two: ManagementApi) -> None:
    """Answered once the runtime routes by it, with what holds now."""
    answer = two.answer("PUT /workflows/seq/traffic", json=ROLLOUT)
    assert answer.headers["ETag"] == '"3"'
    assert answer.get_json() == {
        "status": 'Release 2 is in force for workflow "seq"',
        "release": {
            "number": 2,
            "at": answer.get_json()["release"]["at"],
            "actor": "anonymous",
            "reason": "new tokenizer",
            "previous": 1,
            "kind": "traffic",
            "routes": [{"version": "2.0", "weight": 5}, {"version": "1.0", "weight": 95}],
            "mirror": None,
            "sticky": None,
            "guard": {"windowSeconds": 60, "minRequests": 50, "maxErrorRate": 0.05},
            "steps": ROLLOUT["steps"],
            "paused": False,
        },
    }
    ((detail,),) = two.query("SELECT detail FROM audit_event WHERE action = 'traffic'")
    facts = json.loads(detail)
    assert (facts["release"], facts["reason"]) == (2, "new tokenizer")
    assert facts["before"]["routes"] == [{"version": "1.0", "weight": 100}]
    assert facts["after"]["routes"] == [{"version": "2.0", "weight": 5}, {"version": "1.0", "weight": 95}]


def test_share_of_one_version_is_given_by_the_default_one(two: ManagementApi) -> None:
    """By query or form, as curl sends them."""
    two.send("PUT /workflows/seq/traffic?version=2.0&weight=10")
    assert weights(two) == {"2.0": 10, "1.0": 90}
    answer = two.client.put("/workflows/seq/traffic/", data={"version": "2.0", "weight": "0"})
    assert answer.status_code == 200
    assert weights(two) == {"1.0": 100}


def test_table_that_holds_already_changes_nothing(two: ManagementApi) -> None:
    """No release, no event, no revision."""
    two.send("PUT /workflows/seq/traffic", json=CANARY)
    before = two.state()
    assert two.send("PUT /workflows/seq/traffic", json=CANARY)["changed"] is False
    assert two.state() == before


def test_versions_that_are_not_loaded_are_loaded_before_the_release(two: ManagementApi) -> None:
    """A parked version comes back so."""
    two.runtime.loaded.clear()
    two.runtime.loads.clear()
    two.send("PUT /workflows/seq/2.0/set-default")
    assert two.runtime.loads == ["seq/2.0"]


def test_dry_run_warns_of_versions_that_cannot_be_loaded(two: ManagementApi) -> None:
    """Of those that have to be loaded first, and whose archives are gone; and says so when it is not known."""
    settings = two.services.settings
    request = "PUT /workflows/seq/2.0/set-default?dry_run=true"
    (settings.model_store / "m1.mar").unlink()
    two.runtime.loaded.clear()
    assert two.send(request)["warnings"] == []
    remove_folder(settings.archives_folder)
    warning = "Version 2.0 has to be loaded first, but m1.mar is neither kept nor in the model store any more."
    assert two.send(request)["warnings"] == [warning]
    assert two.send("PUT /workflows/seq/traffic?version=2.0&weight=10&dry_run=true")["warnings"][0] == warning
    two.runtime.is_dead = True
    plan = two.send(request)
    assert (plan["warnings"], plan["unknown"]) == (
        [],
        ["Which versions have to be loaded first: The runtime is down; it is being started."],
    )
    two.runtime.is_dead = False
    two.send("PUT /workflows/seq/2.0/set-default")
    warnings = two.send("PUT /workflows/seq/traffic?version=1.0&weight=10&dry_run=true")["warnings"]
    assert [each.split()[1] for each in warnings] == ["1.0"]


def test_version_that_does_not_load_is_refused_and_nothing_is_changed(two: ManagementApi) -> None:
    """The old version goes on, and the message names the nodes that failed, not those that went with them."""
    two.runtime.loaded.clear()
    two.runtime.failing.add("2.0")
    answer = two.send("PUT /workflows/seq/2.0/set-default", 409)
    assert answer["message"] == (
        "Workflow version 2.0 of workflow seq does not load, nothing was changed: m1: the test makes it fail"
    )
    assert (two.describe()["version"], two.describe()["revision"]) == ("1.0", 2)
    assert two.events()[-1] == ("set-default", "failed")


def test_release_that_the_runtime_does_not_reach_is_said_to_be_written(two: ManagementApi) -> None:
    """It has its event, which no failure follows. A second request finds it written, and waits for it only."""
    two.runtime.problem = "it hangs"
    answer = two.send("PUT /workflows/seq/2.0/set-default", 503)
    assert answer["message"].startswith("Revision 3 of workflow seq is written, and will come into force by itself")
    assert two.events()[2:] == [("set-default", "succeeded")]
    two.runtime.problem = ""
    assert two.send("PUT /workflows/seq/2.0/set-default")["changed"] is False
    assert two.describe()["version"] == "2.0"


def test_rollback_repeats_the_release_before_and_then_walks_further_back(two: ManagementApi) -> None:
    """Each rollback is a release of its own."""
    two.send("PUT /workflows/seq/traffic?version=2.0&weight=10")
    two.send("PUT /workflows/seq/traffic?version=2.0&weight=20")
    answer = two.send("POST /workflows/seq/rollback?reason=worse")
    assert (answer["release"]["number"], answer["release"]["kind"], answer["release"]["previous"]) == (4, "rollback", 1)
    assert weights(two) == {"2.0": 10, "1.0": 90}
    two.send("POST /workflows/seq/rollback")
    assert weights(two) == {"1.0": 100}
    assert two.send("POST /workflows/seq/rollback", 409)["message"] == ("Workflow seq has no release before release 5.")
    two.send("POST /workflows/seq/rollback?to=3")
    assert weights(two) == {"2.0": 20, "1.0": 80}
    assert numbers(two) == [6, 5, 4, 3, 2, 1]


def test_rollback_begins_no_rollout(two: ManagementApi) -> None:
    """Shares, mirror, header and guard come back, steps do not."""
    two.send("PUT /workflows/seq/traffic", json=ROLLOUT)
    two.send("PUT /workflows/seq/2.0/set-default")
    release = two.send("POST /workflows/seq/rollback")["release"]
    assert (release["steps"], release["guard"]["maxErrorRate"]) == (None, 0.05)


def test_rollback_to_what_is_gone_is_refused(two: ManagementApi) -> None:
    """To a release that there never was, or whose version is not registered any more."""
    two.send("PUT /workflows/seq/2.0/set-default")
    two.send("DELETE /workflows/seq/1.0")
    assert two.send("POST /workflows/seq/rollback", 409)["message"] == (
        "Release 1 of workflow seq names version 1.0, which is not registered any more; "
        "no release before it can be repeated either."
    )
    two.register("1.0")
    assert "another registration" in two.send("POST /workflows/seq/rollback", 409)["message"]
    answer = two.send("POST /workflows/seq/rollback?to=9", 404)
    assert answer["message"] == "Release: 9 does not exist for workflow: seq"
    assert weights(two) == {"2.0": 100}


def test_rollback_to_what_is_gone_names_what_can_be_repeated(two: ManagementApi) -> None:
    """It does not choose that by itself: an older version than the client has in mind is no small thing."""
    two.register("3.0")
    two.send("PUT /workflows/seq/traffic?version=2.0&weight=10")
    for version in ("2.0", "1.0", "3.0"):
        two.send(f"PUT /workflows/seq/{version}/set-default")
    two.send("DELETE /workflows/seq/1.0")
    assert two.send("POST /workflows/seq/rollback", 409)["message"] == (
        "Release 4 of workflow seq names version 1.0, which is not registered any more; "
        "the newest release before it that can be repeated is 3 (to=3)."
    )
    assert weights(two) == {"3.0": 100}
    assert two.send("POST /workflows/seq/rollback?dry_run=true", 409)["type"] == "ConflictStatusException"
    two.send("POST /workflows/seq/rollback?to=3")
    assert weights(two) == {"2.0": 100}
    two.send("DELETE /workflows/seq/3.0")
    message = two.send("POST /workflows/seq/rollback?to=5", 409)["message"]
    assert message.endswith("the newest release before it that can be repeated is 3 (to=3).")


@pytest.mark.parametrize(
    ("action", "shares"), [("pause", {"2.0": 5, "1.0": 95}), ("promote", {"2.0": 100}), ("abort", {"1.0": 100})]
)
def test_rollout_can_be_acted_on(two: ManagementApi, action: str, shares: dict[str, int]) -> None:
    """Each action is a release."""
    two.send("PUT /workflows/seq/traffic", json=ROLLOUT)
    answer = two.send(f"POST /workflows/seq/rollout?action={action}")
    assert (answer["release"]["kind"], answer["release"]["paused"]) == ("rollout", action == "pause")
    assert weights(two) == shares


def test_paused_rollout_is_resumed(two: ManagementApi) -> None:
    """Its steps go on."""
    two.send("PUT /workflows/seq/traffic", json=ROLLOUT)
    two.send("POST /workflows/seq/rollout?action=pause")
    assert two.send("POST /workflows/seq/rollout", json={"action": "resume"})["release"]["paused"] is False


def test_traffic_is_shown_with_live_figures(two: ManagementApi) -> None:
    """Without a runtime that answers, the table is shown alone."""
    shown = two.send("GET /workflows/seq/traffic")
    assert (shown["release"], shown["inForce"]) == (1, {"revision": 1, "release": 1})
    nothing = {"requests": 0, "failures": 0, "p50Ms": None, "p99Ms": None}
    assert shown["figures"] == {
        "1.0": {
            "requests": 10,
            "failures": 1,
            "p50Ms": 1.5,
            "p99Ms": 20.0,
            "inFlight": 2,
            "pinned": nothing,
            "mirrored": {**nothing, "dropped": 0},
        }
    }
    two.runtime.problem = "it hangs"
    shown = two.send("GET /workflows/seq/traffic")
    assert (shown["inForce"], shown["figures"]) == (None, {})


def test_releases_are_listed_in_pages(two: ManagementApi) -> None:
    """The newest first; one is the bare object."""
    for weight in (1, 2, 3):
        two.send(f"PUT /workflows/seq/traffic?version=2.0&weight={weight}")
    first = two.send("GET /workflows/seq/releases?limit=2")["releases"]
    rest = two.send("GET /workflows/seq/releases?before=3")["releases"]
    assert [release["number"] for release in first + rest] == [4, 3, 2, 1]
    assert two.send("GET /workflows/seq/releases/3/") == first[1]
    for number in (9, 2**31, 10**20):
        assert two.send(f"GET /workflows/seq/releases/{number}", 404)["type"] == "WorkflowReleaseNotFoundException"


def test_difference_of_two_versions_is_shown(two: ManagementApi) -> None:
    """Nodes, edges, settings and digests."""
    two.send("POST /workflows?url=other.war&version=3.0")
    found = two.send("GET /workflows/seq/diff?from=1.0&to=3.0")
    assert (found["workflow"], found["from"], found["to"]) == ("seq", "1.0", "3.0")
    assert found["nodes"] == {"added": [], "removed": ["pre_processing", "post_processing"]}
    assert found["edges"]["added"] == []
    assert "archive.sha256" in [change["path"] for change in found["changes"]]
    assert two.send("GET /workflows/seq/diff?from=1.0&to=1.0")["changes"] == []


def table(*routes: tuple[str, int], **more: Any) -> dict[str, Any]:
    """Return a routing table."""
    return {"routes": [{"version": version, "weight": weight} for version, weight in routes], **more}


@pytest.mark.parametrize(
    ("request_", "body", "status", "message"),
    [
        ("PUT traffic", table(("1.0", 99)), 400, "the weights add up to 99"),
        ("PUT traffic", table(("1.0", 110), ("2.0", -10)), 400, "routes[0].weight: expected a whole number"),
        ("PUT traffic", table(*((str(number), 10) for number in range(6))), 400, "expected 1 to 5 versions, got 6"),
        ("PUT traffic", table(("1.0", 50), ("9", 50)), 404, "Workflow version: 9 does not exist"),
        ("PUT traffic", table(("1.0", 50), ("2.0", 50), colour="red"), 400, "Unknown parameter 'colour'"),
        ("PUT traffic", table(("1.0", 100), reason="x" * 501), 400, "Parameter reason: expected 500 characters"),
        (
            "PUT traffic",
            table(("1.0", 100), reason="a\0b"),
            400,
            "expected text without control characters, got '\\x00'",
        ),
        ("PUT traffic", table(("1.0", 100), reason="\ud800"), 400, "expected text without control characters"),
        ("PUT traffic", table(("1.0", 100), stiky={"header": "x"}), 400, "did you mean sticky?"),
        ("PUT traffic?version=2.0&weight=101", None, 400, "weight: expected a whole number from 0 to 100"),
        ("PUT traffic?version=2.0", None, 400, "weight is required"),
        ("PUT traffic", None, 400, "Expected a routing table"),
        ("PUT traffic", [], 400, "has to be a JSON object"),
        ("PUT 2.0/set-default?to=1", None, 400, "Unknown parameter 'to'"),
        ("POST rollback?to=0", None, 400, "Parameter to: expected a whole number"),
        ("POST rollback?to=x", None, 400, "Parameter to: expected a whole number"),
        ("POST rollout?action=stop", None, 400, "expected one of pause, resume, promote, abort"),
        ("POST rollout", None, 400, "Parameter action is required"),
        ("POST rollout?action=pause", None, 409, "has no rollout to pause"),
        ("GET diff?from=1.0", None, 400, "Parameter to is required"),
        ("GET diff?from=1.0&to=9", None, 404, "Workflow version: 9 does not exist"),
        ("GET releases?limit=0", None, 400, "Parameter limit"),
        ("GET releases?limt=1", None, 400, "did you mean limit?"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_input_is_refused_and_changes_nothing(
    two: ManagementApi, request_: str, body: Any, status: int, message: str
) -> None:
    """Each message names what is wrong; a write leaves an event."""
    method, path = request_.split(" ", 1)
    before, events = [line for line in two.state() if "audit_event" not in line], len(two.events())
    answer = two.send(f"{method} /workflows/seq/{path}", status, json=body)
    assert message in answer["message"]
    assert [line for line in two.state() if "audit_event" not in line] == before
    failed = [] if method == "GET" else ["failed"]
    assert [outcome for _, outcome in two.events()[events:]] == failed


def test_view_of_releases_has_the_routes_in_their_order(two: ManagementApi) -> None:
    """The newest version first, as the API has them, and not by their names."""
    two.send("PUT /workflows/seq/traffic?version=2.0&weight=10")
    shown = [each["routes"] for each in two.send("GET /workflows/seq/releases")["releases"]]
    expected = [" ".join(f"{route['version']}={route['weight']}" for route in routes) for routes in shown]
    assert expected == ["2.0=10 1.0=90", "1.0=100"]
    found = two.query("SELECT routes FROM v_release WHERE workflow = 'seq' ORDER BY number DESC")
    assert [routes for (routes,) in found] == expected
