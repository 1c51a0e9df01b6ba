"""The page of one workflow, and those of operations."""

import re
from collections.abc import Mapping

import pytest

from tests.support.management_api import ManagementApi
from tests.support.web_pages import HTML, Browser
from wfmgmt.control.messages import LogLine, LogReport
from wfmgmt.domain.names import RESERVED_VERSIONS


def test_page_shows_nodes_versions_and_what_was_done(browser: Browser) -> None:
    """All of it on one page; the audit trail for those who may read it."""
    browser.sign_in("audit")
    words = browser.open("/ui/workflows/seq").words
    assert "seq version 1.0" in words
    assert "Graph 3 nodes, 2 edges" in words
    for node in ("pre_processing", "m1", "post_processing"):
        assert re.search(rf"{node} (model|function) 0 ", words)
    assert re.search(r"2\.0 parked none .* 1\.0 shown default loading 100 % 0\.167 10 % 1\.5 ms 20 ms", words)
    assert re.search(r"Releases No\. Made Shares 1 register \d+ s ago by anonymous 1\.0", words)
    assert re.search(r"register 2\.0 \d+ s ago succeeded anonymous", words)
    assert re.search(r"Audit All Row What By \d register-version \d+ s ago anonymous 127\.0\.0\.1", words)
    browser.sign_in("view")
    assert "Audit Row" not in browser.open("/ui/workflows/seq").words


def test_other_version_is_a_page_of_its_own(browser: Browser) -> None:
    """With what differs from the one before, its graph, and its own address."""
    browser.sign_in("view")
    page = browser.open("/ui/workflows/seq/2.0")
    assert "version 2.0" in page.words
    assert "What differs from 1.0" in page.words
    assert "/ui/workflows/seq/1.0" in page.links
    (graph,) = [str(each["src"]) for tag, each in page.attributes if tag == "img" and "graph" in str(each["src"])]
    drawn = browser.client.get(graph)
    assert (drawn.status_code, drawn.mimetype) == (200, "image/svg+xml")
    assert drawn.headers["Content-Security-Policy"] == "default-src 'none'; style-src 'unsafe-inline'"


def test_what_handlers_write_stays_text(api: ManagementApi, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """Elements, escape sequences and characters that turn the direction of text."""
    text = "\x1b[31m<script>alert(1)</script> \u202eevil\n  '\"><img src=x onerror=alert(1)>"
    line = LogLine(at="2026-01-31T12:00:00.000Z", node="m1", pid=7, level="error", text=text)
    monkeypatch.setattr(api.runtime, "last_lines", lambda *_, **__: LogReport(lines=(line,)))
    browser.sign_in("view")
    page = browser.open("/ui/workflows/seq")
    assert r"error [7] \x1b[31m<script>alert(1)</script> \u202eevil" in page.words
    assert "'\"><img src=x onerror=alert(1)>" in page.words
    assert {each.get("onerror") for _, each in page.attributes} == {None}
    assert len([tag for tag, _ in page.attributes if tag == "script"]) == 2


def test_workflow_that_has_problems_says_them_first(
    api: ManagementApi, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what to do; figures are left out while the runtime is silent."""
    monkeypatch.setattr(api.runtime, "problem", "The runtime does not answer.")
    browser.sign_in("view")
    words = browser.open("/ui/workflows/seq").words
    assert re.search(r"version 1\.0 (unknown|loading) The runtime does not answer\.", words)
    assert "m1 model 0 \u2013 \u2013 \u2013 \u2013 \u2013" in words


@pytest.mark.parametrize(
    "path",
    [
        "/ui/workflows/none",
        "/ui/workflows/seq/9.0",
        "/ui/workflows/seq/9.0/graph",
        "/ui/operations/x",
        "/ui/workflows/%00",
    ]
    + [f"/ui/workflows/seq/{word}" for word in RESERVED_VERSIONS],
)
def test_what_is_not_there_is_not_found(browser: Browser, path: str) -> None:
    """With a page that says so."""
    browser.sign_in("admin")
    browser.open(path, 404)


def test_workflow_of_others_does_not_exist(browser: Browser) -> None:
    """For a token that is for other workflows."""
    browser.sign_in("team")
    assert "Workflow not found: seq" in browser.open("/ui/workflows/seq", 404).words
    assert "No operation" in browser.open("/ui/operations").words


def test_fragment_is_all_that_changes(browser: Browser) -> None:
    """Panels have names, by which those that somebody opened stay open."""
    browser.sign_in("view")
    answer = browser.client.get("/ui/workflows/seq", headers={**HTML, "HX-Request": "true"})
    assert "<html" not in answer.text
    assert '<details id="node-1">' in answer.text


def test_operations_are_listed_and_shown(browser: Browser) -> None:
    """By states, in pages; one has its progress and its error."""
    browser.sign_in("view")
    page = browser.open("/ui/operations")
    (first, *_) = [link for link in page.links if link.startswith("/ui/operations/")]
    shown = browser.open(first).words
    assert "Register seq 2.0 succeeded Progress" in shown
    assert "/ui/workflows/seq" in browser.open(first).links
    assert "No operation is failed" in browser.open("/ui/operations?state=failed").words


def test_operation_that_fails_says_why(api: ManagementApi, browser: Browser, secrets: Mapping[str, str]) -> None:
    """In the list, too."""
    headers = {"Authorization": f"Bearer {secrets['admin']}"}
    api.runtime.failing = {"3.0"}
    api.send("POST /workflows?url=seq.war&version=3.0", 500, headers=headers)
    browser.sign_in("view")
    page = browser.open("/ui/operations?state=failed")
    assert "the test makes it fail" in page.words
    (path,) = [link for link in page.links if link.startswith("/ui/operations/")]
    assert "the test makes it fail" in browser.open(path).words
