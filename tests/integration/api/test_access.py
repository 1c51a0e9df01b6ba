"""Who may do what, beyond the matrix of routes and roles: scopes of lists, refused tokens, and what is recorded."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.management_api import ManagementApi, make_instance, management_api
from tests.support.service import wait_until
from tests.support.tokens import bearer
from wfmgmt.control.load_state import LoadState
from wfmgmt.control.messages import WorkflowReport
from wfmgmt.domain.access import Role, Scope
from wfmgmt.domain.audit import Origin
from wfmgmt.domain.tokens import new_token
from wfmgmt.services.changes import Change
from wfmgmt.services.tokens import TokenRequest

CHANGE = Change(origin=Origin(actor="cli:ops"))


@pytest.fixture(name="secrets", scope="module")
def _secrets(guarded: ManagementApi) -> dict[str, str]:
    """A token of each role for everything, and one of each for `team-*`."""
    scopes = {"": Scope(), "team-": Scope.of(["team-*"])}
    return {
        f"{prefix}{role}": guarded.services.tokens.create(
            TokenRequest(name=f"{prefix}{role}", role=role, scope=scope), CHANGE
        ).secret
        for prefix, scope in scopes.items()
        for role in Role
    }


@pytest.fixture(name="guarded", scope="module")
def _guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ManagementApi]:
    """An API with the workflow `seq`, registered before there was a token."""
    with management_api(make_instance(tmp_path_factory.mktemp("guarded") / "instance")) as api:
        api.register("1.0")
        yield api


def test_lists_leave_out_what_is_out_of_scope(guarded: ManagementApi, secrets: dict[str, str]) -> None:
    """Workflows, operations, and who uses an archive; the number of archives is no secret."""
    everything, team = bearer(secrets["view"]), bearer(secrets["team-view"])
    for path in ("/workflows", "/models", "/workflows?after=", "/workflows?state=all", "/workflows?name=seq"):
        assert len(guarded.send(f"GET {path}", headers=everything)["workflows"]) == 1
        assert guarded.send(f"GET {path}", headers=team)["workflows"] == []
    (operation,) = guarded.send("GET /operations", headers=everything)["operations"]
    assert guarded.send("GET /operations", headers=team)["operations"] == []
    guarded.send(f"GET /operations/{operation['id']}", 404, headers=team)
    guarded.send(f"POST /operations/{operation['id']}/cancel", 404, headers=bearer(secrets["team-operate"]))
    guarded.send(f"POST /operations/{operation['id']}/cancel", 409, headers=bearer(secrets["operate"]))
    used = {
        name: [each["usedBy"] for each in guarded.send("GET /archives", headers=headers)["archives"]]
        for name, headers in (("all", everything), ("team", team))
    }
    assert (any(used["all"]), any(used["team"])) == (True, False)


def test_registration_out_of_scope_is_forbidden(guarded: ManagementApi, secrets: dict[str, str]) -> None:
    """By the name that is asked for, and by the archive's own once that is known; a name in the scope is free."""
    team = bearer(secrets["team-register"])
    for query in ("url=seq.war&workflow_name=other", "url=fun.war", "url=fun.war&dry_run=true"):
        refused = guarded.send(f"POST /workflows?{query}", 403, headers=team)
        assert refused["type"] == "ForbiddenException"
        assert "token:team-register may register workflows named team-* only" in refused["message"]
    plan = guarded.send("POST /workflows?url=fun.war&workflow_name=team-x&dry_run=true", headers=team)
    assert plan["action"] == "create"


def test_change_is_recorded_with_the_token(guarded: ManagementApi, secrets: dict[str, str]) -> None:
    """Also one that the token is not enough for; requests without one leave no trace in the trail."""
    guarded.send("PUT /workflows/seq?min_worker=1", 403, headers=bearer(secrets["view"]))
    guarded.send("PUT /workflows/seq?min_worker=1", 401)
    rows = guarded.query("SELECT actor, action, outcome, workflow FROM audit_event ORDER BY id DESC LIMIT 1")
    assert rows == [("token:view", "scale", "failed", "seq")]


def test_change_with_a_token_that_was_revoked_is_recorded(guarded: ManagementApi, secrets: dict[str, str]) -> None:
    """Under its name, since it is known; that of nobody is not, and what is only looked at is not, either."""
    admin = bearer(secrets["admin"])
    gone = bearer(guarded.send("POST /tokens?name=gone&role=register", 201, headers=admin)["token"])
    guarded.send("DELETE /tokens/gone", headers=admin)
    before = len(guarded.events())
    address = {"REMOTE_ADDR": "192.0.2.78"}
    for shown in (gone, bearer(new_token())):
        for method, path in (("PUT", "/workflows/seq"), ("GET", "/workflows")):
            assert guarded.client.open(path, method=method, headers=shown, environ_base=address).status_code == 401
    rows = guarded.query("SELECT actor, action, outcome, workflow, address FROM audit_event ORDER BY id")[before:]
    assert rows == [("token:gone", "scale", "failed", "seq", "192.0.2.78")]


def test_client_learns_who_it_is(guarded: ManagementApi, secrets: dict[str, str]) -> None:
    """With a token, and without one."""
    assert guarded.send("GET /whoami", headers=bearer(secrets["team-view"])) == {
        "actor": "token:team-view",
        "role": "view",
        "workflows": ["team-*"],
        "expiresAt": None,
    }
    assert guarded.send("GET /whoami")["role"] is None


def test_health_checks_name_nobodys_workflows(
    guarded: ManagementApi, secrets: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They stay open, and say how many are not ready to all; which ones, to those who may see them."""
    show_as_awaited(guarded, monkeypatch, "seq/1.0", "team-a/2.0")
    tokens = {**{name: secrets[name] for name in ("view", "team-view", "predict")}, "wrong": "x"}
    shown = {name: guarded.send("GET /ping", headers=bearer(token)) for name, token in tokens.items()}
    shown["nobody"] = guarded.send("GET /ping")
    assert {name: list(body.get("notReady", ())) for name, body in shown.items()} == {
        "view": ["seq", "team-a/2.0"],
        "team-view": ["team-a/2.0"],
        "predict": [],
        "wrong": [],
        "nobody": [],
    }
    assert [body.get("notReadyCount") for body in shown.values()] == [None, 2, 2, 2, 2]
    assert guarded.send("GET /readyz", 503).get("notReadyCount") == 2


def show_as_awaited(api: ManagementApi, monkeypatch: pytest.MonkeyPatch, *versions: str) -> None:
    """Have the runtime report these versions of workflows as not ready again."""
    reports = [
        WorkflowReport(uid=each, workflow=workflow, version=version, state=LoadState.RESTORING)
        for each in versions
        for workflow, _, version in [each.partition("/")]
    ]
    monkeypatch.setattr(api.services.status, "missing", lambda: reports)


def test_health_checks_name_what_is_behind_many_others(
    guarded: ManagementApi, secrets: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred at most, of those that the client may see."""
    show_as_awaited(guarded, monkeypatch, *(f"other-{number}/1.0" for number in range(150)), "team-a/1.0")
    for check, status in (("ping", 200), ("readyz", 503)):
        for name, shown in (("team-view", 1), ("view", 100)):
            body = guarded.send(f"GET /{check}", status, headers=bearer(secrets[name]))
            assert (len(body["notReady"]), body["notReadyCount"]) == (shown, 151)


def test_health_checks_are_answered_without_the_database(tmp_path: Path) -> None:
    """With any token and without one: that the process serves, and that nothing can be served."""
    with management_api(make_instance(tmp_path / "instance")) as api:
        token = bearer(api.send("POST /tokens?name=a&role=view", 201)["token"])
        api.services.registry.close()
        (tmp_path / "instance" / "wfmgmt.db").rename(tmp_path / "elsewhere")
        for headers in ({}, token, bearer("x"), bearer(new_token())):
            assert api.send("GET /livez", headers=headers) == {"status": "Live"}
            assert api.send("GET /ping", 503, headers=headers)["status"] == "Unhealthy"
            assert api.send("GET /readyz", 503, headers=headers)["status"] == "Not Ready"
            assert "paths" in api.send("GET /api-description", headers=headers)
        for path in ("/whoami", "/workflows"):
            assert api.send(f"GET {path}", 503, headers=token)["type"] == "ServiceUnavailableException"


def test_token_that_is_refused_is_nobodys(guarded: ManagementApi) -> None:
    """Its client learns that, and not what one without a token may do."""
    for token in ("x", new_token()):
        refused = guarded.client.get("/whoami", headers=bearer(token))
        assert (refused.status_code, refused.get_json()["type"]) == (401, "InvalidKeyException")


def test_secret_of_a_token_is_shown_once(tmp_path: Path) -> None:
    """Neither lists, nor the trail, nor the answers that are kept under keys have it."""
    with management_api(make_instance(tmp_path / "instance")) as api:
        key = {"Idempotency-Key": "once"}
        created = api.send("POST /tokens?name=first&role=admin&expires=1d&note=mine", 201, headers=key)
        admin = bearer(created["token"])
        again = api.send("POST /tokens?name=first&role=admin", 409, headers={**key, **admin})
        assert "was called first already" in again["message"]
        (listed,) = api.send("GET /tokens", headers=admin)["tokens"]
        assert (listed["name"], listed["role"], listed["createdBy"], listed["note"]) == (
            "first",
            "admin",
            "anonymous",
            "mine",
        )
        assert listed["lastUsedAt"] is None
        api.services.access.record_uses()
        assert api.send("GET /tokens", headers=admin)["tokens"][0]["lastUsedAt"] is not None
        kept = "".join(map(str, api.state()))
        assert created["token"] not in kept
        assert created["token"][8:] not in kept


def test_revoked_token_is_refused(tmp_path: Path) -> None:
    """It may be revoked again, which changes nothing; one that is not there is not found."""
    with management_api(make_instance(tmp_path / "instance")) as api:
        admin = bearer(api.send("POST /tokens?name=a&role=admin", 201)["token"])
        other = bearer(api.send("POST /tokens?name=b&role=view", 201, headers=admin)["token"])
        api.send("GET /workflows", headers=other)
        assert api.send("DELETE /tokens/b?dry_run=true", headers=admin)["action"] == "remove"
        assert api.send("DELETE /tokens/b", headers=admin) == {"status": 'Token "b" revoked'}
        assert api.send("DELETE /tokens/b?dry_run=true", headers=admin)["action"] == "none"
        api.send("DELETE /tokens/b", headers=admin)
        api.send("DELETE /tokens/c", 404, headers=admin)
        wait_until(lambda: api.client.get("/workflows", headers=other).status_code == 401, what="the refusal")
        assert [each for each in api.events() if each[0].startswith("token")] == [
            ("token-create", "succeeded"),
            ("token-create", "succeeded"),
            ("token-revoke", "succeeded"),
            ("token-revoke", "failed"),
        ]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("name=&role=view", "Parameter name"),
        ("name=a+b&role=view", "Parameter name"),
        ("name=a", "Parameter role: expected one of predict, view"),
        ("name=a&role=root", "Parameter role: expected one of predict, view"),
        ("name=a&role=view&workflows=a[b]", "expected the name of a workflow"),
        ("name=a&role=view&expires=soon", "Parameter expires: expected a time like 90d"),
        ("name=a&role=view&rule=x", "did you mean role"),
    ],
    ids=["no name", "name", "no role", "role", "pattern", "time", "parameter"],
)
def test_token_that_makes_no_sense_is_refused(api: ManagementApi, query: str, message: str) -> None:
    """The message names the parameter and what would be right."""
    refused = api.send(f"POST /tokens?{query}", 400)
    assert message in refused["message"]


@pytest.mark.parametrize(
    ("role", "expected"), [("none", 401), ("predict", 401), ("view", 200)], ids=["none", "predict", "view"]
)
def test_setting_says_what_requests_without_a_token_may_do(tmp_path: Path, role: str, expected: int) -> None:
    """Whether there are tokens or not."""
    with management_api(make_instance(tmp_path / "instance"), anonymous_role=role) as api:
        api.send("GET /workflows", expected)
        api.send("DELETE /workflows/seq", 401)


def test_nobody_is_let_in_where_others_reach_the_service(tmp_path: Path) -> None:
    """Unless the setting says so, or they have a token."""
    with management_api(make_instance(tmp_path / "instance"), management_address="0.0.0.0:0") as api:
        api.send("GET /workflows", 401)


def test_metrics_may_be_open(tmp_path: Path) -> None:
    """For a scraper that has no token."""
    with management_api(make_instance(tmp_path / "instance"), anonymous_role="none", open_metrics=True) as api:
        assert api.client.get("/metrics").status_code == 200


def test_address_of_many_refused_tokens_is_held_back(tmp_path: Path) -> None:
    """With a time to come back; requests without a token do not count, and a right one passes."""
    with management_api(make_instance(tmp_path / "instance")) as api:
        right = bearer(api.send("POST /tokens?name=a&role=view", 201)["token"])
        for _ in range(12):
            api.send("GET /workflows", 401)
        address = {"REMOTE_ADDR": "192.0.2.77"}
        statuses = [
            api.client.get("/workflows", headers=bearer("wrong"), environ_base=address).status_code for _ in range(12)
        ]
        assert statuses == [401] * 10 + [429] * 2
        held_back = api.client.get("/workflows", headers=bearer("wrong"), environ_base=address)
        assert 1 <= int(held_back.headers["Retry-After"]) <= 60
        assert api.client.get("/workflows", headers=right, environ_base=address).status_code == 200


def test_proxy_says_where_a_request_comes_from_and_whom_it_let_in(tmp_path: Path) -> None:
    """In the trail; of others neither is believed, and no header gives a right."""
    settings: dict[str, Any] = {"trusted_proxies": "10.0.0.1", "actor_header": "X-Remote-User"}
    with management_api(make_instance(tmp_path / "instance"), anonymous_role="admin", **settings) as api:
        headers = {"X-Forwarded-For": "6.6.6.6, 203.0.113.7", "X-Remote-User": "alice"}
        for peer in ("10.0.0.1", "10.0.0.2"):
            api.client.delete("/workflows/a b", headers=headers, environ_base={"REMOTE_ADDR": peer})
            path = f"/workflows?url=x{peer}"
            assert api.client.post(path, headers=headers, environ_base={"REMOTE_ADDR": peer}).status_code == 404
        assert api.query("SELECT actor, address FROM audit_event ORDER BY id") == [
            ("anonymous (alice)", "203.0.113.7"),
            ("anonymous", "10.0.0.2"),
        ]
    with management_api(make_instance(tmp_path / "other"), **settings) as api:
        api.send("GET /workflows", 401)


def test_token_that_a_proxy_adds_is_no_leave_for_pages_of_others(tmp_path: Path) -> None:
    """A client that shows its own token is none of these, unless it comes through the proxy, too."""
    with management_api(
        make_instance(tmp_path / "instance"), trusted_proxies="10.0.0.1", anonymous_role="admin"
    ) as api:
        shown = bearer(api.send("POST /tokens?name=a&role=admin", 201)["token"])
        page = {**shown, "Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
        for peer, is_refused in (("10.0.0.1", True), ("10.0.0.2", False)):
            sent = api.client.put("/archives/models/x", headers=page, environ_base={"REMOTE_ADDR": peer})
            assert (sent.status_code == 403) is is_refused, sent.text


def test_operation_without_a_name_is_seen_by_its_own_client(tmp_path: Path) -> None:
    """While the archive that names the workflow waits to be read; by no other narrowed one."""
    with management_api(make_instance(tmp_path / "instance")) as api:
        admin = bearer(api.send("POST /tokens?name=a&role=admin", 201)["token"])
        mine, other = (
            bearer(api.send(f"POST /tokens?name={name}&role=register&workflows={name}-*", 201, headers=admin)["token"])
            for name in ("mine", "other")
        )
        accepted = api.send("POST /workflows?url=seq.war&synchronous=false", 202, headers=mine)
        path = accepted["operation"]
        assert api.send(f"GET {path}", headers=mine)["state"] == "queued"
        assert len(api.send("GET /operations", headers=mine)["operations"]) == 1
        assert api.send("GET /operations", headers=other)["operations"] == []
        api.send(f"GET {path}", 404, headers=other)
        api.send(f"POST {path}/cancel", 404, headers=other)
        api.send(f"POST {path}/cancel", 202, headers=mine)


def test_used_archive_names_no_foreign_workflow(guarded: ManagementApi, secrets: dict[str, str]) -> None:
    """Neither to who would remove it, nor to who would replace it."""
    team = bearer(secrets["team-register"])
    for query in ("", "?dry_run=true"):
        refused = guarded.send(f"DELETE /archives/workflows/seq.war{query}", 409, headers=team)
        assert refused["message"] == (
            "Archive seq.war is used by versions (1) of workflows that are not yours; unregister that first."
        )
    war = (guarded.services.settings.workflow_store / "other.war").read_bytes()
    replaced = guarded.client.put("/archives/workflows/seq.war?replace=true", data=war, headers=team)
    assert (replaced.status_code, "seq 1.0" in replaced.text) == (409, False)
    assert (
        "used by seq 1.0"
        in guarded.send("DELETE /archives/workflows/seq.war", 409, headers=bearer(secrets["admin"]))["message"]
    )
