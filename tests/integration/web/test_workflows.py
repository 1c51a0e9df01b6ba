"""The page of all workflows."""

import re
from collections.abc import Mapping

import pytest

from tests.support.management_api import ManagementApi, make_instance, management_api
from tests.support.web_pages import HTML, Browser
from wfmgmt.control.load_state import LoadState
from wfmgmt.control.messages import NodeReport, WorkflowReport
from wfmgmt.domain.workflow import NodeKind


def report(uid: str, *, failed: bool = False) -> WorkflowReport:
    """Return that a version of `seq` runs, or why it does not."""
    return WorkflowReport(
        uid=uid,
        workflow="seq",
        state=LoadState.FAILED if failed else LoadState.SERVING,
        nodes={"m1": NodeReport(kind=NodeKind.MODEL, wanted=2, ready=0 if failed else 2)},
        failures={"m1": "ImportError: <script>alert(1)</script>"} if failed else {},
    )


def report_all(api: ManagementApi, monkeypatch: pytest.MonkeyPatch, *, failed: bool = False) -> None:
    """Have the runtime report so of all versions."""
    uids = [uid for (uid,) in api.query("SELECT uid FROM workflow_version")]
    monkeypatch.setattr(api.services.status, "report", lambda uid: report(uid, failed=failed))
    monkeypatch.setattr(api.services.status, "reports", lambda: [report(uid, failed=failed) for uid in uids])


def test_line_says_how_a_workflow_is(api: ManagementApi, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """State, version, requests, workers and the last change; a narrowed token sees its own ones only."""
    report_all(api, monkeypatch)
    browser.sign_in("view")
    words = browser.open("/ui/workflows").words
    assert re.search(r"seq seq\.war ready 1\.0 2 5 % 1\.5 ms 20 ms 4 register-version \d+ s ago by anonymous", words)
    assert "All 1 Ready 1 Loading 0 Failed 0" in words
    browser.sign_in("team")
    assert "No workflow is registered" in browser.open("/ui/workflows").words


def test_broken_workflow_says_why(api: ManagementApi, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the words of its handler, which stay words."""
    report_all(api, monkeypatch, failed=True)
    browser.sign_in("view")
    page = browser.open("/ui/workflows")
    assert "failed m1: ImportError: <script>alert(1)</script>" in page.words
    assert len([tag for tag, _ in page.attributes if tag == "script"]) == 2


def test_shares_are_drawn(api: ManagementApi, browser: Browser, secrets: Mapping[str, str]) -> None:
    """As a bar, and in figures."""
    headers = {"Authorization": f"Bearer {secrets['operate']}"}
    api.send("PUT /workflows/seq/traffic?version=2.0&weight=10", headers=headers)
    browser.sign_in("view")
    page = browser.open("/ui/workflows")
    assert "1.0 90 % 2.0 10 %" in page.words
    bars = [(each["x"], each["width"]) for tag, each in page.attributes if tag == "rect" and "x" in each]
    assert bars == [("0", "90"), ("90", "10")]
    api.send("PUT /workflows/seq/1.0/set-default", headers=headers)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("name=se", "seq"),
        ("name=seq*", "seq"),
        ("name=x", "No workflow begins with x"),
        ("state=ready", "No workflow like this"),
        ("state=loading&order=state", "seq"),
        ("order=-name", "seq"),
        ("page=2", "on page 2"),
        ("name=%3Cscript%3E%22%27", "No workflow begins with <script>\"'"),
    ],
)
def test_list_is_narrowed_and_sorted(browser: Browser, query: str, expected: str) -> None:
    """By the beginning of names and by states; a search without a match says so."""
    browser.sign_in("view")
    assert expected in browser.open(f"/ui/workflows?{query}").words


@pytest.mark.parametrize(
    "query", ["state=lost", "order=size", "page=0", "page=x", "nam=x", "name=%00", "name=" + "x" * 130]
)
def test_query_that_makes_no_sense_is_refused(browser: Browser, query: str) -> None:
    """With what would be right, as by the API."""
    browser.sign_in("view")
    assert "arameter" in browser.open(f"/ui/workflows?{query}", 400).words


def test_fragment_is_what_changes(browser: Browser) -> None:
    """The table and its counts, without the head of the page."""
    browser.sign_in("view")
    answer = browser.client.get("/ui/workflows?name=s", headers={**HTML, "HX-Request": "true"})
    assert "<table" in answer.text
    assert "<html" not in answer.text
    (live,) = [each for tag, each in browser.open("/ui/workflows?name=s").attributes if "hx-get" in each]
    assert live["hx-get"] == "/ui/workflows?name=s"


def test_runtime_that_is_silent_is_said_to_be(
    api: ManagementApi, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its figures are left out, and the rest is there."""
    monkeypatch.setattr(api.runtime, "problem", "The runtime is down; it is being started.")
    monkeypatch.setattr(api.services.status, "problem", lambda: api.runtime.problem)
    browser.sign_in("view")
    words = browser.open("/ui/workflows").words
    assert "How workflows run is not known: The runtime is down" in words
    assert "1.0 \u2013 \u2013 \u2013 \u2013 0 " in words


def test_pages_lead_to_each_other(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty lines each."""
    monkeypatch.setattr("wfmgmt.web.workflows.LINES", 2)
    with management_api(make_instance(tmp_path_factory.mktemp("pages") / "i")) as api:
        for number in range(5):
            api.send(f"POST /workflows?url=fun.war&workflow_name=w{number}")
        browser = Browser(api.client.application, {})
        path, seen = "/ui/workflows", []
        while path:
            page = browser.open(path)
            seen += re.findall(r"w\d", page.words)
            path = next((link for link in page.links if f"page={len(seen) // 2 + 1}" in link), "")
    assert seen == [f"w{number}" for number in range(5)]
