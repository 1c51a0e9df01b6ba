"""The page as people use it, in Chromium: with and without scripts, by keyboard, and refreshed by itself."""

import re
from collections.abc import Callable, Mapping

import pytest
import requests
from playwright.sync_api import Page, expect

from tests.support.factories import make_war
from tests.support.service import CHECKOUT, Service
from tests.support.tokens import bearer

Open = Callable[..., Page]
AXE = (CHECKOUT / "tests/browser/vendor/axe.min.js").read_text(encoding="utf-8")
LONG = "n" * 128
RIGHT_TO_LEFT = "\u05e6\u05d5\u05de\u05ea"
RIGHT_TO_LEFT_HANDLER = f"def {RIGHT_TO_LEFT}(data, context):\n    return data and [row['body'] for row in data]\n"
PAGES = (
    f"/ui/workflows/{LONG}",
    f"/ui/change/{LONG}",
    f"/ui/archives/workflows/{LONG}.war",
    "/ui/workflows",
    "/ui/workflows?name=none",
    "/ui/workflows/sequential",
    "/ui/change/sequential",
    "/ui/register",
    "/ui/operations",
    "/ui/audit",
    "/ui/audit/1",
    "/ui/tokens",
    "/ui/archives",
    "/ui/archives/workflows/sequential.war",
    "/ui/system",
    "/ui/x",
)
HOSTILE = """
import sys
def shout(data, context):
    if data is not None:
        print('\\x1b[31m<script>alert("log")</script> \\u202eevil')
        raise ValueError('<img src=x onerror=alert("error")>')
"""


def sign_in(page: Page, token: str) -> None:
    """Sign in by keyboard: the field has the focus."""
    page.keyboard.type(token)
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()


def register(service: Service, tokens: Mapping[str, str], url: str, **parameters: str) -> None:
    """Register a workflow over the API, unless another test has."""
    answer = requests.post(
        f"{service.management}/workflows", {"url": url, **parameters}, headers=bearer(tokens["admin"]), timeout=60
    )
    assert answer.status_code in (200, 409), answer.text


def plan_and_do(page: Page, form: str) -> None:
    """Send a form of the page, look at its plan, and do it."""
    page.locator(f"form[action$='{form}'] button").click()
    expect(page.get_by_role("heading", name="The same with curl")).to_be_visible()
    page.get_by_role("button", name="Do it").click()


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_workflow_is_registered_changed_and_removed(
    service: Service, tokens: Mapping[str, str], open_window: Open, *, scripts: bool
) -> None:
    """From the archive to the audit trail, with nothing but clicks and keys."""
    page = open_window(java_script_enabled=scripts)
    page.fill("input[name=token]", "wfm_wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("Token either incorrect, expired")
    page.fill("input[name=token]", tokens["admin"])
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    for archive, version in (("sequential.war", ""), ("sequential-2.war", "2.0")):
        page.goto("/ui/register")
        page.fill("input[name=url]", archive)
        page.fill("input[name=workflow_name]", "mine")
        page.fill("input[name=version]", version)
        plan_and_do(page, "/ui/register")
        page.wait_for_url("**/ui/operations/*")
        follow(page)
    page.get_by_role("link", name="Go to mine").click()
    expect(page.locator(".notice").filter(has_text="mine 1.0 is ready; nothing is wrong.")).to_be_visible()
    assert page.locator(".graph img").evaluate("image => image.naturalWidth") > 100 if scripts else True
    page.get_by_role("link", name="Change", exact=True).click()
    weights = page.locator("input[name=weight]")
    weights.nth(0).fill("10")
    weights.nth(1).fill("90")
    page.locator("form[action$=traffic] input[name=reason]").fill("a canary")
    plan_and_do(page, "traffic")
    expect(page.locator("tr", has_text="traffic").filter(has_text="a canary")).to_be_visible()
    page.goto("/ui/workflows?name=mine")
    expect(page.locator(".shares").first).to_contain_text("2.0 10 %")
    expect(page.locator(".shares rect.share-1[width='10']").first).to_be_attached()
    page.goto("/ui/change/mine")
    plan_and_do(page, "rollback")
    page.wait_for_url("**/ui/workflows/mine")
    events = page.locator(".card", has=page.get_by_role("heading", name="Audit")).locator("tbody tr")
    expect(events).to_contain_text(["rollback", "traffic", "register-version", "register"])
    page.goto("/ui/change/mine")
    plan_and_do(page, "unregister")
    page.wait_for_url("**/ui/workflows")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    answer = page.goto("/ui/workflows")
    assert answer is not None
    assert answer.status == 401


def follow(page: Page) -> None:
    """Wait for the end of an operation; without scripts by loading its page again."""
    for _ in range(120):
        if page.get_by_role("link", name="Go to mine").is_visible():
            return
        page.wait_for_timeout(500)
        if page.locator("script").count() and not page.evaluate("() => !!window.htmx"):
            page.reload()
    raise AssertionError(page.content())


def test_role_has_its_own_buttons(service: Service, tokens: Mapping[str, str], open_window: Open) -> None:
    """One that looks has none."""
    register(service, tokens, "leaves.war")
    page = open_window()
    sign_in(page, tokens["view"])
    page.get_by_role("link", name="leaves", exact=True).click()
    expect(page.get_by_role("heading", name="leaves")).to_be_visible()
    assert page.get_by_role("button").all_inner_texts() == ["Sign out"]
    assert not page.get_by_role("link", name=re.compile("Change|Register")).count()
    page.goto("/ui/change/leaves")
    expect(page.get_by_role("alert")).to_contain_text("has the role view, which is not enough; it takes operate")


def test_page_is_refreshed_by_itself(service: Service, tokens: Mapping[str, str], open_window: Open) -> None:
    """With the focus where it was; panels that were opened stay open; a service that is silent is noticed."""
    register(service, tokens, "parallel.war")
    page = open_window()
    sign_in(page, tokens["view"])
    page.locator("#sort-state").focus()
    register(service, tokens, "leaves.war", workflow_name="late")
    expect(page.get_by_role("link", name="late", exact=True)).to_be_visible(timeout=30_000)
    assert page.evaluate("document.activeElement.id") == "sort-state"
    page.goto("/ui/workflows/parallel")
    page.locator("#node-2 summary").click()
    since = page.locator("time").last.get_attribute("datetime")
    expect(page.locator("time").last).not_to_have_attribute("datetime", since or "")
    expect(page.locator("#node-2")).to_have_attribute("open", "")
    expect(page.locator("#node-1")).not_to_have_attribute("open", "")
    page.context.set_offline(True)
    expect(page.locator("#stale")).to_contain_text("Out of date since")
    page.context.set_offline(False)
    expect(page.locator("#stale")).to_be_hidden(timeout=30_000)


def test_what_handlers_write_runs_nothing(service: Service, tokens: Mapping[str, str], open_window: Open) -> None:
    """Neither in the log nor in errors; the workflow that fails says so first."""
    make_war(service.workflow_store, name="shouting", spec="dag: {shout: []}\n", handler=HOSTILE)
    register(service, tokens, "shouting.war")
    for _ in range(20):
        requests.post(f"{service.inference}/wfpredict/shouting", data=b"x", timeout=10)
    page = open_window()
    sign_in(page, tokens["view"])
    page.goto("/ui/workflows/shouting")
    expect(page.get_by_label("How it is")).to_contain_text("attempts failed in the last minute")
    expect(page.locator("pre").first).to_contain_text(r'\x1b[31m<script>alert("log")</script> \u202eevil')


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_keeps_anybody_out(
    service: Service, tokens: Mapping[str, str], open_window: Open, scheme: str, width: int
) -> None:
    """No page breaks a rule that axe-core knows, in both themes, nor is wider than the screen."""
    register(service, tokens, "sequential.war")
    make_war(service.workflow_store, name=LONG, spec=f"dag: {{{RIGHT_TO_LEFT}: []}}\n", handler=RIGHT_TO_LEFT_HANDLER)
    register(service, tokens, f"{LONG}.war")
    page = open_window(color_scheme=scheme, viewport={"width": width, "height": 800})
    found = check(page, "/ui/login")
    page.locator("input[name=token]").focus()
    sign_in(page, tokens["admin"])
    paths = (
        "/ui/workflows",
        "/ui/workflows/sequential",
        "/ui/change/sequential",
        "/ui/register",
        "/ui/operations",
        "/ui/x",
    )
    for path in paths:
        found += check(page, path)
    page.goto("/ui/change/sequential")
    page.locator("form[action$=unregister] button").click()
    found += check(page, "")
    assert not found, "\n".join(found)


def check(page: Page, path: str) -> list[str]:
    """Return what is wrong with a page."""
    if path:
        page.goto(path)
    page.evaluate(AXE)
    broken = page.evaluate(
        "async () => (await axe.run()).violations.map(each => [each.id, each.nodes.map(n => n.html)])"
    )
    is_wide = page.evaluate("document.documentElement.scrollWidth > innerWidth")
    return [f"{path}: {rule}: {nodes[:3]}" for rule, nodes in broken] + ([f"{path}: too wide"] if is_wide else [])
