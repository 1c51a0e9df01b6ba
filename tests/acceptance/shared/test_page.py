"""The page of a service that runs."""

import re

import pytest
import requests

from tests.support.factories import make_war
from tests.support.service import Service, wait_until
from tests.support.web_pages import HTML, Page


@pytest.fixture(name="browser")
def _browser() -> requests.Session:
    """One that asks for HTML."""
    session = requests.Session()
    session.headers.update(HTML)
    return session


def test_page_shows_what_a_workflow_does(service: Service, browser: requests.Session) -> None:
    """From the first request on; what it loads comes from here, and may be kept."""
    handler = "def echo(data, context): return data and [row['body'] for row in data]\n"
    archive = make_war(service.workflow_store, name="seen", spec="dag: {echo: []}\n", handler=handler)
    try:
        assert service.register("seen.war").status_code == 200
        for _ in range(30):
            assert requests.post(f"{service.inference}/wfpredict/seen", data=b"x", timeout=10).status_code == 200
        page = Page(browser.get(f"{service.management}/", timeout=10).text)
        line = r"seen seen\.war ready 1\.0 0\.5 0 [\d.]+ m?s [\d.]+ m?s 1 register \d+ s ago by anonymous"
        wait_until(
            lambda: re.search(line, Page(browser.get(f"{service.management}/ui/", timeout=10).text).words),
            what=page.words,
        )
        for address in [str(each["src"]) for tag, each in page.attributes if tag == "script"]:
            answer = browser.get(service.management + address, timeout=10)
            assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    finally:
        assert service.unregister("seen").status_code == 200
        archive.unlink()
