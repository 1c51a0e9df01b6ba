"""How lists and descriptions are written, without a server."""

import pytest

from wfmgmt.api.workflows import page_text
from wfmgmt.http.answers import json_text
from wfmgmt.registry.records import ListedWorkflow, Page


@pytest.mark.parametrize("next_page", [{"nextPageToken": "3"}, {}], ids=["more follow", "last"])
@pytest.mark.parametrize(
    "listed",
    [
        [("a", "a.war")],
        [("a", 'http://x/?q="\\\n\u2028é☃\U0001f600'), ("b", "b.war"), ("c", "")],
    ],
    ids=["one", "odd characters"],
)
def test_page_text_is_what_the_json_encoder_would_write(
    listed: list[tuple[str, str]], next_page: dict[str, str]
) -> None:
    """Whatever names and urls hold, the quick way and the usual one give the same text."""
    page = Page(workflows=tuple(map(ListedWorkflow._make, listed)), more=bool(next_page))
    workflows = [{"workflowName": name, "workflowUrl": url} for name, url in listed]
    assert page_text(page, {"nextPageToken": "3"}) == json_text({**next_page, "workflows": workflows})


def test_page_text_of_nothing_is_what_the_json_encoder_would_write() -> None:
    """An empty list is written in one line."""
    assert page_text(Page(workflows=(), more=False), {}) == json_text({"workflows": []})
