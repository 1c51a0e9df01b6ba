"""The pages of archives and of the service."""

from pathlib import Path
from typing import Any

from tests.support.factories import make_mar
from tests.support.management_api import ManagementApi, make_instance, management_api
from tests.support.web_pages import Browser, Page


def test_archives_are_listed_looked_into_and_removed(api: ManagementApi, browser: Browser) -> None:
    """Which version uses them; one that none uses may be removed, after a plan."""
    make_mar(api.services.settings.model_store, name="spare")
    browser.sign_in("view")
    page = browser.open("/ui/archives")
    assert "/ui/archives/models/m1.mar" in page.links
    assert "seq 1.0, m1 ; seq 2.0, m1" in page.words
    page = browser.open("/ui/archives/workflows/seq.war")
    assert "Function pre_processing , line 1" in page.words
    assert not [form for form in page.forms if "remove" in form]
    browser.sign_in("register")
    assert not [form for form in browser.open("/ui/archives/models/m1.mar").forms if "remove" in form]
    path = "/ui/archives/models/spare.mar/remove"
    plan = Page(browser.send(path, browser.open("/ui/archives/models/spare.mar").forms[path]).text)
    assert "no version uses it" in plan.words
    assert browser.send(path, plan.forms[path]).headers["Location"] == "/ui/archives"
    browser.open("/ui/archives/models/spare.mar", 404)
    used = browser.send("/ui/archives/models/m1.mar/remove", plan.forms[path])
    assert used.status_code == 409


def test_archives_of_others_workflows_are_used_by_others(browser: Browser) -> None:
    """Their names are not shown; a list goes on after a name."""
    browser.sign_in("team")
    words = browser.open("/ui/archives").words
    assert "others" in words
    assert "seq 1.0" not in words
    assert "m1.mar" in browser.open("/ui/archives?after=workflows/seq.war").words
    browser.open("/ui/archives?after=x", 400)


def test_system_says_how_the_service_is(api: ManagementApi, browser: Browser) -> None:
    """Settings are for admins of everything."""
    browser.sign_in("view")
    words = browser.open("/ui/system").words
    assert "Everything that gets requests is ready." in words
    assert "workflow, same 1" in words
    assert "DATABASE_URL" not in words
    browser.sign_in("admin")
    assert f"INSTANCE {api.services.settings.instance}" in browser.open("/ui/system").words


def test_settings_show_no_secrets(tmp_path: Path) -> None:
    """Neither passwords in addresses nor keys."""
    secrets: dict[str, Any] = {
        "allowed_urls": r"https://user:hidden@models\.example/.*",
        "open_metrics": True,
        "torchserve_management_key": "hidden",
        "torchserve_management_urls": "http://127.0.0.1:1",
        "torchserve_inference_urls": "http://127.0.0.1:2",
        "model_server": "torchserve",
    }
    with management_api(make_instance(tmp_path / "i"), **secrets) as api:
        words = Browser(api.client.application, {}).open("/ui/system").words
    assert "TORCHSERVE_MANAGEMENT_KEY **********" in words
    assert "ALLOWED_URLS https://models" in words
    assert "OPEN_METRICS true" in words
    assert "hidden" not in words
