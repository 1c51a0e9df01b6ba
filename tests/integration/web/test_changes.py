"""The forms that change something: the plan first, then the change, and what the audit trail has of it."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from werkzeug.test import TestResponse

from tests.support.management_api import ManagementApi, Snapshot, make_instance, management_api
from tests.support.tokens import bearer
from tests.support.web_pages import Browser, Page
from wfmgmt.domain.access import Role, Scope
from wfmgmt.domain.audit import Origin
from wfmgmt.services.changes import Change
from wfmgmt.services.tokens import TokenRequest

CHANGE = "/ui/change/seq"


@pytest.fixture(name="kept", scope="module")
def _kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Snapshot, dict[str, str]]:
    """An instance to copy, with two versions of `seq` and a token of each role."""
    folder = make_instance(tmp_path_factory.mktemp("changes") / "i")
    with management_api(folder) as api:
        api.register("1.0")
        api.register("2.0")
        asked = Change(origin=Origin(actor="cli:ops"))
        create = api.services.tokens.create
        secrets = {
            role.value: create(TokenRequest(name=role.value, role=role, scope=Scope()), asked).secret for role in Role
        }
    return Snapshot(folder=folder, runtime=api.runtime), secrets


@pytest.fixture(name="changing")
def _changing(tmp_path: Path, kept: tuple[Snapshot, dict[str, str]]) -> Iterator[tuple[ManagementApi, Browser]]:
    """A copy of it, and a browser in which `admin` has signed in."""
    with kept[0].copy(tmp_path / "i") as api:
        browser = Browser(api.client.application, kept[1])
        browser.sign_in("admin")
        yield api, browser


@pytest.fixture(name="same", scope="module")
def _same(
    tmp_path_factory: pytest.TempPathFactory, kept: tuple[Snapshot, dict[str, str]]
) -> Iterator[tuple[ManagementApi, Browser]]:
    """The same for tests that change nothing."""
    with kept[0].copy(tmp_path_factory.mktemp("same") / "i") as api:
        browser = Browser(api.client.application, kept[1])
        browser.sign_in("admin")
        yield api, browser


def planned(browser: Browser, path: str, **fields: str | list[str]) -> Page:
    """Send a form, and return the plan."""
    (page,) = [CHANGE if path.startswith(CHANGE) else path]
    token = browser.open(page).forms[path]["form_token"]
    answer = browser.client.post(path, data={**fields, "form_token": token}, headers={"Accept": "text/html"})
    assert answer.status_code == 200, answer.text
    return Page(answer.text)


def done(browser: Browser, path: str, plan: Page, **more: list[str]) -> TestResponse:
    """Do what a plan says."""
    return browser.client.post(path, data={**plan.forms[path], **more}, headers={"Accept": "text/html"})


class Case(NamedTuple):
    """A form, what its plan says, and what its command asks for.

    Attributes:
        kind: Which form.
        fields: What is in it.
        title: The title of the plan.
        what: What stands in the plan.
        request: The request that does the same.
    """

    kind: str
    fields: dict[str, str]
    title: str
    what: str
    request: str


CASES = {
    "default": Case(
        "set-default", {"version": "2.0"}, "Release seq", "2.0 0 % 100 %", "PUT /workflows/seq/2.0/set-default"
    ),
    "node": Case(
        "scale",
        {"version": "1.0", "node": "m1", "min_worker": "0", "max_worker": "3"},
        "Update seq 1.0",
        "nodes.m1.minWorkers 1 → 0",
        "PUT /workflows/seq/1.0/nodes/m1",
    ),
    "all nodes": Case(
        "scale", {"version": "1.0", "max_worker": "4"}, "Update seq", "m1.maxWorkers 1 → 4", "PUT /workflows/seq/1.0"
    ),
    "version": Case(
        "unregister",
        {"version": "2.0"},
        "Remove seq 2.0",
        "Version 2.0 is unregistered",
        "DELETE /workflows/seq/2.0",
    ),
    "workflow": Case("unregister", {}, "Remove seq", "The name is free then.", "DELETE /workflows/seq"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_plan_comes_before_the_change(changing: tuple[ManagementApi, Browser], case: Case) -> None:
    """It changes nothing; sent again, it does what it says, once. The command that it shows would do the same."""
    api, browser = changing
    before, path = api.state(), f"{CHANGE}/{case.kind}"
    plan = planned(browser, path, reason="it's <b>due</b>", **case.fields)
    assert api.state() == before
    assert case.title in plan.words
    assert case.what in plan.words
    command = shlex.split(plan.words.partition("The same with curl ")[2].partition(" wfmgmt ")[0])
    method, address = command[2], command[-1]
    assert f"{method} {address}".startswith(case.request.replace(" ", " http://localhost", 1) + "?")
    headers = bearer(browser.secrets["admin"])
    same = api.client.open(f"{address}&dry_run=true", method=method, headers=headers)
    assert same.get_json()["fingerprint"] == plan.forms[path]["plan"]
    answer = done(browser, path, plan)
    assert (answer.status_code, answer.headers["Location"][:4]) == (303, "/ui/")
    ((actor, outcome, detail),) = api.query("SELECT actor, outcome, detail FROM audit_event ORDER BY id DESC LIMIT 1")
    assert (actor, outcome, json.loads(detail)["reason"]) == ("token:admin", "succeeded", "it's <b>due</b>")
    assert done(browser, path, plan).status_code in (404, 409)


def test_traffic_goes_as_the_form_says(changing: tuple[ManagementApi, Browser]) -> None:
    """What else the routing table says stays; it is rolled back in the same way."""
    api, browser = changing
    headers = bearer(browser.secrets["admin"])
    table = {"routes": [{"version": "1.0", "weight": 100}], "sticky": {"header": "x-user"}, "reason": "sticky"}
    api.send("PUT /workflows/seq/traffic", json=table, headers=headers)
    path, weights = f"{CHANGE}/traffic", {"version": ["2.0", "1.0"], "weight": ["10", "90"]}
    plan = planned(browser, path, reason="Authorization: it's $HOME", **weights)
    assert "2.0 0 % 10 %" in plan.words
    command = shlex.split(plan.words.partition("The same with curl ")[2].partition(" wfmgmt ")[0])
    assert json.loads(command[command.index("--json") + 1])["reason"] == "Authorization: it's $HOME"
    assert done(browser, path, plan, **weights).status_code == 303
    shown = api.send("GET /workflows/seq/traffic", headers=headers)
    assert {each["version"]: each["weight"] for each in shown["routes"]} == {"1.0": 90, "2.0": 10}
    assert shown["sticky"] == {"header": "x-user"}
    path = f"{CHANGE}/rollback"
    assert done(browser, path, planned(browser, path)).headers["Location"] == "/ui/workflows/seq"
    assert [each["version"] for each in api.send("GET /workflows/seq/traffic", headers=headers)["routes"]] == ["1.0"]
    events = api.query("SELECT action FROM audit_event WHERE outcome = 'succeeded' ORDER BY id DESC LIMIT 3")
    assert events == [("rollback",), ("traffic",), ("traffic",)]


def test_rollout_is_paused_and_taken_back(changing: tuple[ManagementApi, Browser]) -> None:
    """By a form that is there while one is under way."""
    api, browser = changing
    headers = bearer(browser.secrets["admin"])
    routes = [{"version": "1.0", "weight": 90}, {"version": "2.0", "weight": 10}]
    steps = [{"weight": 10, "forSeconds": 3000}, {"weight": 100}]
    api.send("PUT /workflows/seq/traffic", json={"routes": routes, "steps": steps}, headers=headers)
    path = f"{CHANGE}/rollout"
    for action in ("pause", "abort"):
        assert done(browser, path, planned(browser, path, action=action)).status_code == 303
    assert path not in browser.open(CHANGE).forms


@pytest.mark.parametrize(
    ("kind", "fields", "status", "message"),
    [
        ("set-default", {"version": "9.0"}, 404, "Workflow version: 9.0 does not exist"),
        ("set-default", {"version": "default"}, 400, "is not allowed"),
        ("set-default", {}, 400, "version"),
        ("traffic", {"version": ["1.0"], "weight": ["x"]}, 400, "weight of 1.0"),
        ("traffic", {"version": ["1.0", "2.0"], "weight": ["50", "20"]}, 400, "100"),
        ("traffic", {}, 400, "routes"),
        ("scale", {"version": "1.0"}, 400, "Expected min_worker or max_worker"),
        ("scale", {"version": "1.0", "node": "m1", "min_worker": "4", "max_worker": "2"}, 400, "max_worker"),
        ("scale", {"version": "1.0", "node": "<script>", "min_worker": "4"}, 404, "node"),
        ("rollback", {"to": "77"}, 404, "77"),
        ("rollout", {"action": "explode"}, 400, "Parameter action: expected one of"),
        ("rollout", {"action": ""}, 400, "Parameter action is required"),
        ("unregister", {"version": "1.0"}, 409, "1.0"),
        ("set-default", {"version": "2.0", "reason": "x" * 501}, 400, "Parameter reason"),
        ("set-default", {"version": "2.0", "plan": "p-x"}, 409, "outdated"),
    ],
)
def test_form_that_makes_no_sense_is_refused(
    same: tuple[ManagementApi, Browser], kind: str, fields: dict[str, str | list[str]], status: int, message: str
) -> None:
    """With the API's words and a way back; a plan that is refused is none of the audit trail's."""
    api, browser = same
    before = api.query("SELECT count(*) FROM audit_event")
    form = browser.open(CHANGE).forms[f"{CHANGE}/scale"]
    answer = browser.client.post(
        f"{CHANGE}/{kind}", data={**fields, "form_token": form["form_token"]}, headers={"Accept": "text/html"}
    )
    assert answer.status_code == status, answer.text
    assert message in Page(answer.text).words
    assert (api.query("SELECT count(*) FROM audit_event") == before) is ("plan" not in fields)


def test_buttons_are_those_that_a_role_may_use(changing: tuple[ManagementApi, Browser]) -> None:
    """And the server refuses what is sent without one, and records that."""
    api, browser = changing
    browser.sign_in("view")
    page = browser.open("/ui/workflows/seq")
    assert not [link for link in page.links if "change" in link or "register" in link]
    browser.open(CHANGE, 403)
    form = {"form_token": page.forms["/ui/logout"]["form_token"], "version": "2.0"}
    assert browser.send(f"{CHANGE}/set-default", form).status_code == 403
    browser.sign_in("operate")
    page = browser.open(CHANGE)
    assert f"{CHANGE}/unregister" not in page.forms
    form = {"form_token": page.forms["/ui/logout"]["form_token"]}
    assert browser.send(f"{CHANGE}/unregister", form).status_code == 403
    rows = api.query("SELECT action, actor, outcome FROM audit_event ORDER BY id DESC LIMIT 2")
    assert rows == [("unregister", "token:operate", "failed"), ("set-default", "token:view", "failed")]


def test_version_is_registered_and_followed(changing: tuple[ManagementApi, Browser]) -> None:
    """From the archive in the store, by an operation, which can be cancelled while it waits."""
    api, browser = changing
    browser.sign_in("register")
    page = browser.open("/ui/register?workflow_name=seq")
    assert {"seq.war", "fun.war"} <= {str(each.get("value")) for tag, each in page.attributes if tag == "option"}
    fields = {"url": "other.war", "workflow_name": "seq", "version": "3.0", "reason": "why not"}
    plan = planned(browser, "/ui/register", **fields)
    assert "Add version seq 3.0" in plan.words
    assert "Model m1 m1.mar" in plan.words
    assert "'http://localhost/workflows?url=other.war&workflow_name=seq&version=3.0&synchronous=false" in plan.words
    followed = done(browser, "/ui/register", plan).headers["Location"]
    page = browser.open(followed)
    assert "Register seq 3.0 queued" in page.words
    cancelled = browser.send(f"{followed}/cancel", page.forms[f"{followed}/cancel"])
    assert cancelled.headers["Location"] == followed
    assert "cancelled" in browser.open(followed).words
    assert api.query("SELECT action FROM audit_event ORDER BY id DESC LIMIT 1") == [("cancel",)]


def test_archive_that_is_not_there_is_refused(same: tuple[ManagementApi, Browser]) -> None:
    """Before there is a plan."""
    _, browser = same
    form = browser.open("/ui/register").forms["/ui/register"]
    for url, status in (("none.war", 404), ("", 400), ("../x.war", 404), ("file:///etc/passwd", 404)):
        assert browser.send("/ui/register", {**form, "url": url}).status_code in (status, 400), url
