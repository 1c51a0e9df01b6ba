"""A browser without scripts: it asks for HTML, keeps cookies, and sends forms as they stand in pages."""

from collections.abc import Mapping
from html.parser import HTMLParser

from flask import Flask
from werkzeug.test import TestResponse

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8", "Sec-Fetch-Site": "same-origin"}


class Page(HTMLParser):
    """What stands in a page.

    Attributes:
        forms: Fields of each form, by where it is sent.
        links: Where links lead.
        words: The text.
        attributes: Every attribute of every element, by element.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.forms: dict[str, dict[str, str]] = {}
        self.links: list[str] = []
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self._form = ""
        self._words: list[str] = []
        self.feed(html)

    @property
    def words(self) -> str:
        """The text, with single spaces."""
        return " ".join(" ".join(self._words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take down one element."""
        given = dict(attrs)
        self.attributes.append((tag, given))
        if tag == "form":
            self._form = given.get("action") or ""
            self.forms[self._form] = {}
        if tag == "a":
            self.links.append(given.get("href") or "")
        if tag in {"input", "button", "select", "textarea"} and given.get("name") and self._form:
            self.forms[self._form][str(given["name"])] = given.get("value") or ""

    def handle_endtag(self, tag: str) -> None:
        """Leave a form."""
        if tag == "form":
            self._form = ""

    def handle_data(self, data: str) -> None:
        """Take down text."""
        self._words.append(data)


class Browser:
    """Opens pages of an application.

    Args:
        application: The application.
        secrets: Tokens by the names by which one signs in here.

    Attributes:
        client: Sends requests.
        secrets: The tokens.
    """

    def __init__(self, application: Flask, secrets: Mapping[str, str]) -> None:
        self.client = application.test_client()
        self.secrets = dict(secrets)

    def open(self, path: str, expected: int = 200) -> Page:
        """Return the page of a path, which has that status."""
        answer = self.client.get(path, headers=HTML)
        assert answer.status_code == expected, (path, answer.text)
        return Page(answer.text)

    def send(self, path: str, fields: Mapping[str, str], **headers: str) -> TestResponse:
        """Send a form."""
        return self.client.post(path, data=dict(fields), headers={**HTML, **headers})

    def sign_in(self, name: str) -> TestResponse:
        """Sign in with a token."""
        fields = self.open("/ui/login").forms["/ui/login"]
        return self.send("/ui/login", {**fields, "token": self.secrets[name]})
