"""The pages of the audit trail and of tokens."""

import re

import pytest

from tests.support.management_api import ManagementApi
from tests.support.tokens import bearer
from tests.support.web_pages import Browser, Page


def test_trail_is_shown_and_narrowed(browser: Browser) -> None:
    """By what the API narrows it by; a row has its receipt and its detail."""
    browser.sign_in("audit")
    page = browser.open("/ui/audit?workflow=seq")
    assert "2 rows" in page.words
    assert re.search(r"register-version seq anonymous 127\.0\.0\.1 succeeded", page.words)
    (path, *_) = [link for link in page.links if re.fullmatch(r"/ui/audit/\d+", link)]
    row = browser.open(path).words
    assert re.search(r"Register-version seq succeeded Row 2 .* Receipt 2:[0-9a-f]{16} Hash [0-9a-f]{64}", row)
    assert '"version": "2.0"' in row
    assert "No row like this" in browser.open("/ui/audit?actor=token:nobody").words
    assert "Parameter after" in browser.open("/ui/audit?after=soon", 400).words
    browser.open("/ui/audit/99999999999999999999", 404)


def test_trail_goes_on_over_pages(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the filters kept."""
    monkeypatch.setattr("wfmgmt.web.audit.LINES", 3)
    browser.sign_in("audit")
    path, seen = "/ui/audit?action=token-create", list[str]()
    while path:
        page = browser.open(path)
        seen += [link for link in page.links if re.fullmatch(r"/ui/audit/\d+", link)]
        path = next((link for link in page.links if "before_id" in link), "")
        assert not path or "action=token-create" in path
    assert len(seen) == len(set(seen)) == len(browser.secrets)


def test_refusal_shows_what_was_refused(browser: Browser) -> None:
    """In the words of the error, which stay words."""
    browser.sign_in("view")
    form = {"form_token": browser.open("/ui/workflows").forms["/ui/logout"]["form_token"], "version": "<b>"}
    assert browser.send("/ui/change/seq/set-default", form).status_code == 403
    browser.sign_in("audit")
    words = browser.open("/ui/audit?outcome=failed").words
    assert "token:view 127.0.0.1 failed token:view has the role view, which is not enough" in words


def test_token_is_made_shown_once_and_revoked(api: ManagementApi, browser: Browser) -> None:
    """Each after its plan; the secret is nowhere else."""
    browser.sign_in("admin")
    form = browser.open("/ui/tokens").forms["/ui/tokens"]
    note = "for <script>alert(1)</script>"
    fields = {**form, "name": "robot", "role": "operate", "workflows": "team-*,x", "expires": "90d", "note": note}
    plan = Page(browser.send("/ui/tokens", fields).text)
    assert "A token is made, and shown once." in plan.words
    assert "token=" not in plan.words.partition("curl -X")[2]
    made = browser.send("/ui/tokens", plan.forms["/ui/tokens"])
    (secret,) = re.findall(r"wfm_\w{36}", Page(made.text).words)
    assert "no-store" in made.headers["Cache-Control"]
    assert api.send("GET /whoami", headers=bearer(secret))["workflows"] == ["team-*", "x"]
    api.services.access.record_uses()
    page = browser.open("/ui/tokens")
    assert secret not in page.words
    line = rf"operate team-\*,x \d+ s ago by token:admin \d+ s ago 20\d\d-\d\d-\d\d {re.escape(note)}"
    assert re.search(line, page.words)
    path = "/ui/tokens/robot/revoke"
    plan = Page(browser.send(path, page.forms[path]).text)
    assert browser.send(path, plan.forms[path]).headers["Location"] == "/ui/tokens"
    assert path not in browser.open("/ui/tokens").forms
    again = browser.send("/ui/tokens", fields)
    assert (again.status_code, "was called robot already" in Page(again.text).words) == (409, True)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": ""}, "Parameter name"),
        ({"name": "a b"}, "Parameter name"),
        ({"role": "root"}, "Parameter role: expected one of"),
        ({"expires": "soon"}, "Parameter expires"),
        ({"workflows": "a[b]"}, "expected the name of a workflow"),
    ],
)
def test_token_that_makes_no_sense_is_refused(browser: Browser, fields: dict[str, str], message: str) -> None:
    """Before there is a plan."""
    browser.sign_in("admin")
    form = {**browser.open("/ui/tokens").forms["/ui/tokens"], "name": "n", "role": "view"}
    refused = browser.send("/ui/tokens", {**form, **fields})
    assert (refused.status_code, message in Page(refused.text).words) == (400, True)
