"""Signing in and out: cookies, forms, and who gets to see what."""

import re
import time
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from tests.support.management_api import ManagementApi, make_instance, management_api
from tests.support.tokens import bearer
from tests.support.web_pages import HTML, Browser, Page
from wfmgmt.services.sessions import SESSION_S, Sessions

COOKIE = "wfmgmt-80"


def cookie_of(client: FlaskClient) -> str:
    """Return the session in a browser; empty without one."""
    cookie = client.get_cookie(COOKIE, path="/ui/")
    return "" if cookie is None else cookie.value


def test_address_leads_browsers_to_the_page(api: ManagementApi, browser: Browser) -> None:
    """All others get what they got before, whatever they accept."""
    answer = browser.client.get("/", headers=HTML)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/ui/")
    assert browser.client.get("/ui/").headers["Location"] == "/ui/workflows"
    for headers in ({}, {"Accept": "*/*"}, {"Accept": "application/json"}):
        refused = api.client.get("/", headers=headers)
        assert (refused.status_code, refused.headers["Allow"]) == (405, "OPTIONS")
        assert refused.json == {
            "code": 405,
            "type": "MethodNotAllowedException",
            "message": "Requested method is not allowed, please refer to API document.",
        }


def test_page_asks_for_a_token_and_goes_on_where_one_was(browser: Browser, secrets: dict[str, str]) -> None:
    """The cookie is for the page only, no script reads it, and the token is not in it."""
    asked = browser.open("/ui/workflows?name=s", 401)
    assert asked.forms["/ui/login"]["next"] == "/ui/workflows?name=s"
    answer = browser.send("/ui/login", {**asked.forms["/ui/login"], "token": f" {secrets['view']}\n"})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/ui/workflows?name=s")
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    assert cookie.partition("; ")[2] == f"Max-Age={SESSION_S}; HttpOnly; Path=/ui/; SameSite=Strict" or {
        *cookie.split("; ")[1:]
    } >= {f"Max-Age={SESSION_S}", "HttpOnly", "Path=/ui/", "SameSite=Strict"}
    assert "Secure" not in cookie
    assert secrets["view"][8:] not in cookie
    assert "token:view · view" in browser.open("/ui/workflows").words


def test_cookie_is_for_tls_only_where_there_is_tls(browser: Browser, secrets: dict[str, str]) -> None:
    """And a page of another server is nowhere to go on to."""
    for following in ("https://evil.example/", "//evil.example", "/workflows", "/ui/x\r\nSet-Cookie: a=b", ""):
        answer = browser.client.post(
            "/ui/login", data={"token": secrets["view"], "next": following}, base_url="https://localhost", headers=HTML
        )
        assert "Secure" in answer.headers["Set-Cookie"].split("; ")
        assert answer.headers["Location"] == "/ui/"


def test_wrong_token_is_refused(browser: Browser) -> None:
    """With TorchServe's text, and no cookie; more than ten of them within a minute hold the address back."""
    address = {"REMOTE_ADDR": "192.0.2.99"}
    answers = [
        browser.client.post("/ui/login", data={"token": "wfm_x"}, headers=HTML, environ_base=address)
        for _ in range(21)  # The minute may end once meanwhile.
    ]
    statuses = [answer.status_code for answer in answers]
    assert statuses[:10] == [401] * 10
    assert set(statuses) == {401, 429}
    assert "Token either incorrect, expired" in Page(answers[0].text).words
    assert all("Set-Cookie" not in answer.headers for answer in answers)
    held_back = answers[statuses.index(429)]
    assert 1 <= int(held_back.headers["Retry-After"]) <= 60


def test_signed_out_is_out(browser: Browser) -> None:
    """It takes the form of the page."""
    browser.sign_in("view")
    form = browser.open("/ui/workflows").forms["/ui/logout"]
    assert browser.send("/ui/logout", {}).status_code == 403
    assert browser.send("/ui/logout", {"form_token": "x" * 64}).status_code == 403
    assert cookie_of(browser.client)
    assert browser.send("/ui/logout", form).headers["Location"] == "/ui/login"
    assert not cookie_of(browser.client)
    browser.open("/ui/workflows", 401)


def test_form_of_another_session_is_refused(api: ManagementApi, browser: Browser, secrets: dict[str, str]) -> None:
    """Somebody who may sign in cannot prepare a form for others."""
    browser.sign_in("admin")
    mine = Browser(api.client.application, secrets)
    mine.sign_in("view")
    form = mine.open("/ui/workflows").forms["/ui/logout"]
    assert browser.send("/ui/logout", form).status_code == 403


def test_token_that_a_proxy_adds_does_not_replace_the_form(browser: Browser, secrets: dict[str, str]) -> None:
    """A page of another site could make the browser of somebody send a request to which the proxy adds a token."""
    token = bearer(secrets["admin"])
    page = Page(browser.client.get("/ui/change/seq", headers={**HTML, **token}).text)
    fields = {"version": "2.0"}
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "none"}):
        answer = browser.client.post("/ui/change/seq/set-default", data=fields, headers={**token, **headers})
        assert (answer.status_code, "This form belongs to a session" in answer.text) == (403, True)
    form = {**fields, "form_token": page.forms["/ui/change/seq/set-default"]["form_token"]}
    assert browser.client.post("/ui/change/seq/set-default", data=form, headers={**HTML, **token}).status_code == 200
    other = browser.client.post("/ui/change/seq/set-default", data=form, headers={**HTML, **bearer(secrets["operate"])})
    assert other.status_code == 403
    assert browser.client.post("/ui/change/seq/set-default", data=fields, headers=token).status_code == 200


def test_cookie_that_is_no_session_makes_no_form_of_others(browser: Browser, secrets: dict[str, str]) -> None:
    """Whatever it holds, such as the name of who is to send the form."""
    actor = browser.client.get("/whoami", headers=bearer(secrets["admin"])).get_json()["actor"]
    for planted in (actor, f"actor\\n{actor}"):
        browser.client.set_cookie("wfmgmt-80", planted, path="/ui/")
        shown = browser.client.get("/ui/change/seq", headers={**HTML, **bearer(secrets["operate"])})
        browser.client.delete_cookie("wfmgmt-80", path="/ui/")
        form = {"version": "2.0", "form_token": Page(shown.text).forms["/ui/change/seq/set-default"]["form_token"]}
        sent = browser.client.post(
            "/ui/change/seq/set-default",
            data=form,
            headers={**HTML, **bearer(secrets["admin"]), "Origin": "http://localhost"},
        )
        assert sent.status_code == 403, sent.text


def test_page_of_another_origin_sends_nothing(browser: Browser, secrets: dict[str, str]) -> None:
    """Not even a sign-in, as which somebody would go on without noticing."""
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}):
        answer = browser.send("/ui/login", {"token": secrets["view"]}, **headers)
        assert answer.status_code == 403
        assert "CrossOriginException" in answer.text


def test_session_ends_with_its_token(tmp_path: Path) -> None:
    """And stays through a restart of the service until then."""
    folder = make_instance(tmp_path / "i")
    with management_api(folder) as api:
        admin = bearer(api.send("POST /tokens?name=a&role=admin", 201)["token"])
        browser = Browser(
            api.client.application, {"b": api.send("POST /tokens?name=b&role=view", 201, headers=admin)["token"]}
        )
        browser.sign_in("b")
        browser.open("/ui/workflows")
        session = cookie_of(browser.client)
    assert (folder / "session.key").stat().st_mode & 0o777 == 0o600
    with management_api(folder) as api:
        browser = Browser(api.client.application, {})
        browser.client.set_cookie(COOKIE, session, path="/ui/")
        browser.open("/ui/workflows")
        api.services.access.record_uses()
        assert api.query("SELECT name FROM token WHERE last_used_at IS NOT NULL") == [("b",)]
        api.send("DELETE /tokens/b", headers=admin)
        browser.open("/ui/workflows", 401)


@pytest.mark.parametrize(
    "forged",
    ["", "x", "{0}.{1}", "{0}.9999999999.x.admin", "{0}.{1}.é", "." * 5, "0" * 64 + ".9999999999.a.admin"],
    ids=["empty", "word", "cut off", "other", "more", "dots", "zeros"],
)
def test_forged_session_is_none(api: ManagementApi, secrets: dict[str, str], forged: str) -> None:
    """Every character of it is signed."""
    session = api.services.sessions.begin(secrets["view"], address="")
    assert api.services.sessions.caller(forged.format(*session.split("."))) is None


def test_session_ends_after_eight_hours(api: ManagementApi, secrets: dict[str, str], tmp_path: Path) -> None:
    """By its own word, not by the browser's."""
    now = time.time()
    sessions = Sessions(api.services.access, tmp_path / "key", clock=lambda: now)
    session = sessions.begin(secrets["view"], address="")
    found = sessions.caller(session)
    assert found is not None
    assert (found.actor, found.role) == ("token:view", "view")
    now += SESSION_S
    assert sessions.caller(session) is None


def test_key_that_is_damaged_is_replaced(api: ManagementApi, secrets: dict[str, str], tmp_path: Path) -> None:
    """With an empty one anybody could make sessions."""
    key = tmp_path / "key"
    key.touch()
    session = Sessions(api.services.access, key).begin(secrets["view"], address="")
    assert len(key.read_bytes()) == 32
    assert Sessions(api.services.access, key).caller(session) is not None
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_cookie_is_no_token_for_the_api(browser: Browser) -> None:
    """Not even where a browser would send it."""
    browser.sign_in("admin")
    session = cookie_of(browser.client)
    assert browser.client.get("/workflows", headers={"Cookie": f"{COOKIE}={session}"}).status_code == 401


def test_role_that_is_not_enough_is_named(browser: Browser) -> None:
    """On a page for browsers; other clients get the API's errors, here too."""
    browser.sign_in("predict")
    refused = browser.open("/ui/workflows", 403)
    assert "token:predict has the role predict, which is not enough; it takes view." in refused.words
    assert "/ui/workflows" not in refused.links
    assert browser.client.get("/ui/workflows").get_json()["type"] == "ForbiddenException"
    assert Browser(browser.client.application, {}).client.get("/ui/workflows").get_json()["code"] == 401


def test_page_is_open_where_the_api_is(tmp_path: Path) -> None:
    """Until the first token; forms work without a session then."""
    with management_api(make_instance(tmp_path / "i")) as api:
        page = Browser(api.client.application, {}).open("/ui/workflows")
        assert "anonymous · admin Sign in" in page.words
        assert "/ui/login" in page.links
        browser = Browser(api.client.application, {})
        form = {**browser.open("/ui/tokens").forms["/ui/tokens"], "name": "first", "role": "admin"}
        assert browser.send("/ui/tokens", {**form, "form_token": ""}).status_code == 403
        plan = Page(browser.send("/ui/tokens", form).text).forms["/ui/tokens"]
        (browser.secrets["first"],) = re.findall(r"wfm_\w{36}", browser.send("/ui/tokens", plan).text)
        browser.open("/ui/tokens", 401)
        browser.sign_in("first")
        browser.open("/ui/tokens")
