"""The page about traffic says what the code does."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from wfmgmt.domain.releases import Guard, RoutingTable
from wfmgmt.domain.routes import bucket
from wfmgmt.domain.traffic import TrafficParser, table_json

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "traffic.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    """Return the one block of code of a language on the page."""
    (text,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(text)


def test_table_of_the_page_is_one_that_can_be_sent() -> None:
    """It has every key there is, and is shown as it is written there."""
    given = json.loads(block("json"))
    versions = ("1.0", "2.0", "3.0")
    assert table_json(TrafficParser("seq", versions).table(given, RoutingTable.all_to("1.0"))) == given


@pytest.mark.parametrize("key", ["user-1", "", "größe"], ids=ascii)
def test_hash_of_the_page_is_the_one_in_use(key: str) -> None:
    """Who copies it gets the same buckets."""
    names: dict[str, Any] = {}
    exec(block("python"), names)  # noqa: S102 - what the page shows is what is tested
    assert names["bucket"]("seq", key) == bucket("seq", key)


def test_page_explains_every_key() -> None:
    """Those of a table and of its guard, with their defaults."""
    given = json.loads(block("json"))
    for key in (*given, *given["guard"]):
        assert f"\n| `{key}` |" in PAGE
    assert f"| `windowSeconds` | {Guard().window_s} |" in PAGE
    assert f"| `minRequests` | {Guard().min_requests} |" in PAGE
