"""What all pages have in common: headers, files, and that nothing runs in them but our scripts."""

import base64
import hashlib

import pytest

from tests.support.service import CHECKOUT
from tests.support.web_pages import HTML, Browser

STATIC = CHECKOUT / "wfmgmt/web/static"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
#: Of `dist/htmx.min.js` in the npm package `htmx.org` 2.0.11.
HTMX = "2OatzQy1H+Zd/IIrjr1TcuDGqLXeHhbooAyJY1KdQMKnr4LZ22k31GBLdYKHmVjg"
PAGES = (
    "/ui/login",
    "/ui/workflows",
    "/ui/workflows?state=failed&name=x",
    "/ui/workflows?page=7",
    "/ui/workflows/seq",
    "/ui/operations",
    "/ui/change/seq",
    "/ui/register",
    "/ui/audit",
    "/ui/audit?q=none",
    "/ui/audit/1",
    "/ui/tokens",
    "/ui/archives",
    "/ui/archives/workflows/seq.war",
    "/ui/archives/models/m1.mar",
    "/ui/system",
    "/ui/x",
)


def test_htmx_is_the_one_that_was_published() -> None:
    """With its licence beside it; a new one changes this test."""
    digest = hashlib.sha384((STATIC / "htmx.min.js").read_bytes()).digest()
    assert base64.b64encode(digest).decode() == HTMX
    assert "Zero-Clause BSD" in (STATIC / "htmx.LICENSE").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", PAGES)
def test_page_needs_no_exception_from_its_policy(browser: Browser, path: str) -> None:
    """No script, style or handler stands in it, all that it loads is ours, and every link leads somewhere."""
    browser.sign_in("admin")
    assert browser.client.get(path, headers=HTML).headers["Content-Security-Policy"] == POLICY
    page = browser.open(path, 404 if path == "/ui/x" else 200)
    for tag, attributes in page.attributes:
        assert tag != "style"
        assert not [name for name in attributes if name == "style" or (name.startswith("on") and len(name) > 2)]
        assert tag != "script" or attributes["src"]
        if (address := attributes.get("src") or (attributes.get("href") if tag == "link" else None)) is not None:
            loaded = browser.client.get(address)
            assert loaded.status_code == 200
            assert ("immutable" in loaded.headers["Cache-Control"]) is ("/static/" in address)
    for link in {link for link in page.links if link.startswith("/")}:
        assert browser.client.get(link, headers=HTML).status_code in (200, 303), link


@pytest.mark.parametrize("path", ["/ui/nothing", "/ui/static/nothing", "/ui/static/..%2fblueprint.py"])
def test_unknown_page_is_not_found(browser: Browser, path: str) -> None:
    """With a page that says so, under the same policy."""
    answer = browser.client.get(path, headers=HTML)
    assert (answer.status_code, answer.headers["Content-Security-Policy"]) == (404, POLICY)
    assert "404 NOT FOUND" in answer.text
    browser.sign_in("view")
    assert "token:view · view" in browser.open(path, 404).words


def test_file_is_kept_by_browsers(browser: Browser) -> None:
    """For ever under the address with its digest, and checked under the one without."""
    answer = browser.client.get("/ui/static/style.css")
    assert (answer.headers.getlist("Cache-Control"), "Pragma" in answer.headers) == (["no-cache"], False)
    again = browser.client.get("/ui/static/style.css", headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


def test_api_keeps_its_headers(browser: Browser) -> None:
    """Nothing of the page is in its answers."""
    answer = browser.client.get("/ping")
    assert "no-store" in answer.headers["Cache-Control"]
    assert "Content-Security-Policy" not in answer.headers
