"""Declared state over the API: what applying a file does, and what it leaves alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.factories import make_war
from tests.support.management_api import ManagementApi, carrying_out, make_instance, management_api
from tests.support.tokens import bearer
from wfmgmt.domain.audit import Origin
from wfmgmt.domain.releases import ReleaseKind
from wfmgmt.domain.rollouts import with_all_to
from wfmgmt.services.release_rules import make_release

SEQ = {"versions": {"1.0": {"url": "seq.war"}, "2.0": {"url": "other.war"}}, "traffic": {"1.0": 90, "2.0": 10}}
FUN = {"versions": {"1.0": {"url": "fun.war"}}}


@pytest.fixture(name="api")
def _api(api: ManagementApi) -> Iterator[ManagementApi]:
    """Give the application with what carries out what it has accepted."""
    with carrying_out(api):
        yield api


def declaration(**workflows: Any) -> dict[str, Any]:
    """Return a declaration of these workflows."""
    return {"wfmgmt": 1, "workflows": workflows}


def applied(api: ManagementApi, declared: object, query: str = "", expected: int = 200) -> dict[str, str]:
    """Apply a declaration; return what was done to each workflow, or why it could not be."""
    answer = api.send(f"POST /apply{query}", expected, json=declared)
    return {
        each["workflow"]: each["action"] if each["error"] is None else each["error"]["message"]
        for each in answer["results"]
    }


def shares(api: ManagementApi) -> dict[str, int]:
    """Return the share of each version of `seq`."""
    return {each["version"]: each["weight"] for each in api.send("GET /workflows/seq/traffic")["routes"]}


def max_workers(api: ManagementApi, version: str = "1.0") -> tuple[int, list[str]]:
    """Return how many workers the model of `seq` has at most, and which of its settings are not those of the spec."""
    (model,) = (node for node in api.describe(f"seq/{version}")["nodes"] if node["name"] == "m1")
    return model["maxWorkers"], model["overridden"]


def drifted(api: ManagementApi) -> list[tuple[str, Any, Any]]:
    """Return what was changed since it was applied: path, as declared, as found."""
    return [(each["path"], each["declared"], each["found"]) for each in api.send("GET /drift")["drift"]]


def test_workflows_become_what_is_declared_and_stay_so(api: ManagementApi) -> None:
    """Applied again, nothing is done, and nothing recorded."""
    declared = declaration(seq={**SEQ, "nodes": {"m1": {"max-workers": 3}}}, fun=FUN)
    assert applied(api, declared, "?dry_run=true") == {"seq": "create", "fun": "create"}
    assert api.events() == []
    assert applied(api, declared) == {"seq": "create", "fun": "create"}
    assert shares(api) == {"1.0": 90, "2.0": 10}
    assert max_workers(api) == max_workers(api, "2.0") == (3, ["maxWorkers"])
    assert api.events()[-1] == ("apply", "succeeded")
    assert drifted(api) == []
    before, events = api.state(with_records=False), api.events()
    assert applied(api, declared) == {"seq": "none", "fun": "none"}
    assert (api.state(with_records=False), api.events()) == (before, events)


def test_what_is_not_declared_any_more_goes_back(api: ManagementApi) -> None:
    """Settings at once; versions and workflows when they are to be pruned."""
    applied(api, declaration(seq={**SEQ, "nodes": {"m1": {"max-workers": 3}}}, fun=FUN))
    less = declaration(seq={"versions": {"1.0": {"url": "seq.war"}}, "traffic": {"1.0": 100}})
    answer = api.send("POST /apply?dry_run=true", json=less)
    assert [each["changes"] for each in answer["results"]] == [
        [
            {"path": "versions[1.0].nodes.m1.maxWorkers", "before": 3, "after": 1},
            {"path": "traffic", "before": {"2.0": 10, "1.0": 90}, "after": {"1.0": 100}},
        ]
    ]
    assert applied(api, less) == {"seq": "update"}
    assert (max_workers(api), shares(api)) == ((1, []), {"1.0": 100})
    assert len(api.send("GET /workflows/seq/all")) == 2
    assert applied(api, less, "?prune=true") == {"seq": "update", "fun": "remove"}
    assert [each["version"] for each in api.send("GET /workflows/seq/all")] == ["1.0"]
    assert api.send("GET /workflows/fun", 404)
    assert applied(api, less, "?prune=true") == {"seq": "none"}


def test_one_that_fails_stops_no_other(api: ManagementApi) -> None:
    """Applied again when its cause is gone, it is done."""
    declared = declaration(seq={"versions": {"1.0": {"url": "nosuch.war"}}}, fun=FUN)
    answer = api.send("POST /apply", 409, json=declared)
    assert answer["message"].startswith("1 of 2 workflows could not be applied: seq: Workflow not found in")
    done, failed = sorted(answer["results"], key=lambda each: each["workflow"])
    assert (failed["error"]["code"], failed["error"]["type"]) == (404, "WorkflowNotFoundException")
    assert (done["workflow"], done["error"]) == ("fun", None)
    assert api.events()[-1] == ("apply", "failed")
    assert drifted(api) == [("workflow", "seq", None)]
    make_war(api.services.settings.workflow_store, file_name="nosuch.war")
    assert applied(api, declared) == {"seq": "create", "fun": "none"}


def test_failures_beyond_the_bound_have_the_same_answer(tmp_path: Path) -> None:
    """What was changed has its row all the same; the summary of the others names their client."""
    with management_api(make_instance(tmp_path / "i"), max_audited_failures=1) as api, carrying_out(api):
        wrong = declaration(seq={"versions": {"1.0": {"url": "nosuch.war"}}})
        for _ in range(3):
            assert "not found" in applied(api, wrong, expected=409)["seq"]
        before = len(api.events())
        assert applied(api, declaration(fun=FUN, **wrong["workflows"]), expected=409)["fun"] == "create"
        assert api.events()[before:] == [("register", "succeeded"), ("apply", "failed")]


def test_version_never_changes(api: ManagementApi) -> None:
    """Another archive of a version is refused, as is one that is not the declared one."""
    digest = "0f" * 32
    wrong = declaration(seq={"versions": {"1.0": {"url": "seq.war", "sha256": digest}}})
    assert f"not {digest}; nothing of it is left" in applied(api, wrong, expected=409)["seq"]
    applied(api, declaration(seq={"versions": {"1.0": {"url": "seq.war"}}}))
    assert "is registered from bytes with the SHA-256" in applied(api, wrong, expected=409)["seq"]
    other = declaration(seq={"versions": {"1.0": {"url": "other.war"}}})
    assert "is registered from seq.war, and declared from other.war" in applied(api, other, expected=409)["seq"]
    found = api.describe()["archiveSha256"]
    assert applied(api, declaration(seq={"versions": {"1.0": {"url": "moved.war", "sha256": found}}})) == {
        "seq": "update"
    }


def test_what_comes_from_elsewhere_is_left_alone(api: ManagementApi) -> None:
    """Unless it is taken over."""
    api.send("POST /workflows?url=seq.war")
    declared = declaration(seq={"versions": {"1.0": {"url": "seq.war"}}})
    refused = "Workflow seq was not made by a source; with adopt=true it is taken over."
    assert applied(api, declared, "?source=prod", 409) == {"seq": refused}
    assert applied(api, declared, "?source=prod&adopt=true") == {"seq": "update"}
    assert applied(api, declared, "?source=prod") == {"seq": "none"}
    assert applied(api, declared, expected=409)["seq"].startswith("Workflow seq comes from source prod")
    assert applied(api, declaration(), "?prune=true") == {}
    assert applied(api, declaration(), "?prune=true&source=prod") == {"seq": "remove"}


def test_token_for_some_workflows_prunes_and_sees_only_these(api: ManagementApi) -> None:
    """The others of the same source are neither removed nor named; what it names itself is refused like any other."""
    applied(api, declaration(seq=SEQ, fun=FUN))
    admin = bearer(api.send("POST /tokens?name=a&role=admin", 201)["token"])
    token = api.send("POST /tokens?name=narrow&role=register&workflows=fun", 201, headers=admin)["token"]
    pruned = api.send("POST /apply?prune=true", headers=bearer(token), json=declaration())
    assert [(each["workflow"], each["action"]) for each in pruned["results"]] == [("fun", "remove")]
    assert api.send("GET /drift", headers=bearer(token)) == {"drift": []}
    texts = [
        api.send("POST /apply", 409, headers=bearer(token), json=declaration(**{name: FUN}))["message"].replace(
            name, ""
        )
        for name in ("seq", "nosuch")
    ]
    assert texts[0] == texts[1]
    assert api.send("GET /workflows/seq", headers=admin)


def test_what_is_changed_by_hand_drifts(api: ManagementApi) -> None:
    """Applied again, it is as declared."""
    applied(api, declaration(seq=SEQ, fun=FUN))
    api.send("PUT /workflows/seq?max_worker=7", 202)
    api.send("PUT /workflows/seq/traffic?version=2.0&weight=50")
    api.send("POST /workflows", json={"url": "seq.war", "workflow_name": "seq", "version": "3.0"})
    api.send("DELETE /workflows/fun")
    assert drifted(api) == [
        ("workflow", "fun", None),
        ("versions[1.0].nodes.m1.maxWorkers", 1, 7),
        ("traffic", {"1.0": 90, "2.0": 10}, {"1.0": 50, "2.0": 50}),
        ("versions[3.0]", None, "seq.war"),
    ]
    (fun, *_) = api.send("GET /drift")["drift"]
    assert (fun["workflow"], fun["actor"], fun["since"] is None) == ("fun", "anonymous", False)
    assert applied(api, declaration(seq=SEQ, fun=FUN)) == {"seq": "update", "fun": "create"}
    assert drifted(api) == [("versions[3.0]", None, "seq.war")]


def test_what_a_guard_has_taken_back_stays_so(api: ManagementApi) -> None:
    """Until another traffic is declared."""
    applied(api, declaration(seq=SEQ))
    with api.services.registry.write() as writer:
        release = writer.release("seq")
        assert release is not None
        table = with_all_to(release.table, "1.0")
        make_release(writer, "seq", table, kind=ReleaseKind.GUARD, origin=Origin(actor="guard"))
    assert applied(api, declaration(seq=SEQ)) == {"seq": "none"}
    assert shares(api) == {"1.0": 100}
    assert drifted(api) == [("traffic", {"1.0": 90, "2.0": 10}, {"1.0": 100})]
    assert applied(api, declaration(seq={**SEQ, "traffic": {"1.0": 80, "2.0": 20}})) == {"seq": "update"}
    assert shares(api) == {"1.0": 80, "2.0": 20}


def test_those_who_do_not_wait_have_an_operation(api: ManagementApi) -> None:
    """Its result says what became of each workflow; a second one of the same source has to wait."""
    api.runtime.may_load.clear()
    accepted = api.send("POST /apply?synchronous=false&reason=friday", 202, json=declaration(fun=FUN))
    busy = api.send("POST /apply", 409, json=declaration())
    assert (busy["operation"], "Source default is being applied" in busy["message"]) == (accepted["operation"], True)
    api.runtime.may_load.set()
    done = api.send(f"GET {accepted['operation']}?wait=20")
    assert (done["kind"], done["state"], done["error"]) == ("apply", "succeeded", None)
    assert [(each["workflow"], each["action"]) for each in done["result"]["results"]] == [("fun", "create")]
    assert api.query("SELECT detail FROM audit_event WHERE action = 'register' AND detail LIKE '%friday%'")


@pytest.mark.parametrize(
    ("query", "body", "status", "message"),
    [
        ("", b"wfmgmt: 1\nworkflows: {seq: {version: {}}}", 400, "line 2: workflows.seq.version: there is no such key"),
        ("", b"", 400, "line 1: expected a mapping with wfmgmt and workflows."),
        ("", b"wfmgmt: 1\n\xff", 400, "line 2: expected text in UTF-8."),
        ("", b" " * (4 * 1024 * 1024 + 1), 413, "The declaration is longer than 4194304 bytes"),
        ("?source=a%20b", b"wfmgmt: 1\nworkflows: {}", 400, "Parameter source"),
        ("?plan=p-0123456789abcdef", b"wfmgmt: 1\nworkflows: {}", 400, "Parameter plan and header If-Match"),
        ("?sources=a", b"wfmgmt: 1\nworkflows: {}", 400, "sources"),
    ],
)
def test_bad_input_is_refused(api: ManagementApi, query: str, body: bytes, status: int, message: str) -> None:
    """With its place, and nothing is done."""
    answer = api.client.post(f"/apply{query}", data=body)
    assert (answer.status_code, message in answer.get_json()["message"]) == (status, True), answer.get_json()
    assert api.send("GET /operations")["operations"] == []


def test_node_that_no_version_has_is_refused(api: ManagementApi) -> None:
    """With the nearest one, before anything is changed if the versions are there."""
    applied(api, declaration(seq={"versions": {"1.0": {"url": "seq.war"}}}))
    wrong = declaration(seq={"versions": {"1.0": {"url": "seq.war"}}, "nodes": {"pre_procesing": {"max-workers": 2}}})
    assert applied(api, wrong, "?dry_run=true", 409)["seq"].endswith("has no such node, did you mean 'pre_processing'?")
    few = declaration(seq={"versions": {"1.0": {"url": "seq.war"}}, "nodes": {"m1": {"min-workers": 2}}})
    assert applied(api, few, expected=409)["seq"] == "max_worker cannot be less than min_worker."
