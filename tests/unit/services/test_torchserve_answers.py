"""What is made of the answers of a TorchServe, which may be anything."""

import json

import pytest

from wfmgmt.services.torchserve_listing import ForeignWorkflow, ListingPage, parse_description, parse_page

DESCRIPTION = {
    "workflowName": "seq",
    "workflowUrl": "seq.war",
    "minWorkers": 1,
    "maxWorkers": 2,
    "batchSize": 1,
    "maxBatchDelay": 50,
    "workflowDag": "{a=[b]}",
}
NOT_JSON = {
    "nothing": b"",
    "a page": b"<html>it works</html>",
    "half of it": b'{"workflows": [',
    "not UTF-8": b'{"workflows": "\xff"}',
    "deeply nested": b"[" * 100_000,
    "a number without end": b'{"workflows": ' + b"9" * 5000 + b"}",
}
NOT_A_LIST: dict[str, object] = {
    "models": {"models": []},
    "no object": [],
    "no array": {"workflows": {}},
    "null": None,
    "an error": {"code": 404, "type": "ResourceNotFoundException", "message": "gone"},
}
NO_LINES = {
    "text": "seq",
    "no url": {"workflowName": "seq"},
    "no name": {"workflowUrl": "seq.war"},
    "a number": {"workflowName": 1, "workflowUrl": "seq.war"},
    "null": {"workflowName": "seq", "workflowUrl": None},
}


def page(**fields: object) -> bytes:
    """Return the body of a page."""
    return json.dumps({"workflows": [], **fields}).encode()


def test_page_has_its_workflows_and_where_the_next_one_starts() -> None:
    """The token is an offset; without one it is the last page."""
    listed = [{"workflowName": "a", "workflowUrl": "a.war"}, {"workflowName": "b", "workflowUrl": "x.war"}]
    workflows = (ForeignWorkflow("a", "a.war"), ForeignWorkflow("b", "x.war"))
    assert parse_page(page(workflows=listed, nextPageToken="2")) == ListingPage(workflows=workflows, next_offset=2)
    assert parse_page(page(workflows=listed)) == ListingPage(workflows=workflows, next_offset=None)


@pytest.mark.parametrize("content", NOT_JSON.values(), ids=NOT_JSON)
def test_page_that_is_not_json_is_refused(content: bytes) -> None:
    """Whatever answers there is most likely no TorchServe."""
    with pytest.raises(ValueError, match="not JSON; is it the management address of a TorchServe"):
        parse_page(content)


@pytest.mark.parametrize("document", NOT_A_LIST.values(), ids=NOT_A_LIST)
def test_page_without_a_list_is_refused(document: object) -> None:
    """So is JSON of another server, or of another path."""
    with pytest.raises(ValueError, match="not a list of workflows"):
        parse_page(json.dumps(document).encode())


@pytest.mark.parametrize("line", NO_LINES.values(), ids=NO_LINES)
def test_page_with_a_workflow_that_is_none_is_refused(line: object) -> None:
    """Nothing is left out silently."""
    with pytest.raises(ValueError, match="no name or no url"):
        parse_page(page(workflows=[line]))


@pytest.mark.parametrize("token", [2, "", "-1", "1.5", "abc", "²", "9" * 10, ["2"], True])
def test_page_with_a_token_that_is_no_offset_is_refused(token: object) -> None:
    """What cannot grow in small steps could lead on for ever."""
    with pytest.raises(ValueError, match="not an offset"):
        parse_page(page(nextPageToken=token))


def test_description_gives_the_numbers_and_the_graph() -> None:
    """Under TorchServe's names for them."""
    figures = parse_description("seq", json.dumps([DESCRIPTION]).encode())
    assert figures == {
        "minWorkers": 1,
        "maxWorkers": 2,
        "batchSize": 1,
        "maxBatchDelay": 50,
        "workflowDag": "{a=[b]}",
    }


def test_description_leaves_out_what_it_does_not_say() -> None:
    """A value of another kind says nothing."""
    odd = {**DESCRIPTION, "minWorkers": "1", "maxWorkers": True, "batchSize": None, "workflowDag": 5}
    assert parse_description("seq", json.dumps([odd]).encode()) == {"maxBatchDelay": 50}


@pytest.mark.parametrize(
    "document",
    [[], {}, DESCRIPTION, [[]], [{**DESCRIPTION, "workflowName": "other"}], None, "seq"],
    ids=["empty", "object", "no list", "list of a list", "another one", "null", "text"],
)
def test_description_of_something_else_is_refused(document: object) -> None:
    """It has to be about the workflow that was asked for."""
    with pytest.raises(ValueError, match="not the description of seq"):
        parse_description("seq", json.dumps(document).encode())
