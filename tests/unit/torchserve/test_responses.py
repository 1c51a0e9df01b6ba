"""What is made of the answers of a TorchServe, which may be anything."""

from typing import Any

import pytest

from wfmgmt.torchserve.responses import Listed, parse_figures, parse_model, parse_page

WORKFLOW = {
    "workflowName": "seq",
    "workflowUrl": "seq.war",
    "minWorkers": 1,
    "maxWorkers": 2,
    "batchSize": 1,
    "maxBatchDelay": 50,
    "workflowDag": "{a=[b]}",
}
MODEL = {
    "modelName": "m",
    "modelVersion": "1.0",
    "modelUrl": "m.mar",
    "minWorkers": 1,
    "maxWorkers": 2,
    "batchSize": 3,
    "maxBatchDelay": 50,
    "responseTimeout": 120,
    "workers": [
        {"id": "9000", "pid": 17, "status": "READY"},
        {"id": "9001", "pid": -1, "status": "UNLOADING"},
        {"id": "9002", "status": "READY"},
    ],
}
#: What JSON of another form raises, all of which the client maps to one error.
ODD = (KeyError, IndexError, TypeError, ValueError, AttributeError)
NOT_A_LIST: dict[str, Any] = {
    "models": {"models": []},
    "an array": [],
    "no array": {"workflows": 1},
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


def page(**fields: object) -> dict[str, object]:
    """Return a page of workflows."""
    return {"workflows": [], **fields}


def test_page_has_its_workflows_and_where_the_next_one_starts() -> None:
    """The token is an offset; without one it is the last page."""
    listed = [{"workflowName": "a", "workflowUrl": "a.war"}, {"workflowName": "b", "workflowUrl": "x.war"}]
    workflows = [Listed("a", "a.war"), Listed("b", "x.war")]
    assert parse_page("workflow", page(workflows=listed, nextPageToken="2")) == (workflows, 2)
    assert parse_page("workflow", page(workflows=listed)) == (workflows, None)


def test_page_of_models_is_read_the_same_way() -> None:
    """Only the names of the fields are others."""
    assert parse_page("model", {"models": [{"modelName": "m", "modelUrl": "m.mar"}]}) == ([Listed("m", "m.mar")], None)


@pytest.mark.parametrize("document", NOT_A_LIST.values(), ids=NOT_A_LIST)
def test_page_without_a_list_is_refused(document: Any) -> None:
    """So is JSON of another server, or of another path."""
    with pytest.raises(ODD):
        parse_page("workflow", document)


@pytest.mark.parametrize("line", NO_LINES.values(), ids=NO_LINES)
def test_page_with_a_workflow_that_is_none_is_refused(line: object) -> None:
    """Nothing is left out silently."""
    with pytest.raises(ODD):
        parse_page("workflow", page(workflows=[line]))


@pytest.mark.parametrize("token", [2, "", "-1", "1.5", "abc", "²", "9" * 10, ["2"], True])
def test_page_with_a_token_that_is_no_offset_is_refused(token: object) -> None:
    """What cannot grow in small steps could lead on for ever."""
    with pytest.raises(ODD):
        parse_page("workflow", page(nextPageToken=token))


def test_figures_are_the_numbers_and_the_graph() -> None:
    """Under TorchServe's names for them."""
    assert parse_figures("seq", [WORKFLOW]) == {
        "minWorkers": 1,
        "maxWorkers": 2,
        "batchSize": 1,
        "maxBatchDelay": 50,
        "workflowDag": "{a=[b]}",
    }


def test_figures_leave_out_what_is_not_said() -> None:
    """A value of another kind says nothing."""
    odd = {**WORKFLOW, "minWorkers": "1", "maxWorkers": True, "batchSize": None, "workflowDag": 5}
    assert parse_figures("seq", [odd]) == {"maxBatchDelay": 50}


@pytest.mark.parametrize(
    "document",
    [[], {}, WORKFLOW, [[]], [{**WORKFLOW, "workflowName": "other"}], None, "seq"],
    ids=["empty", "object", "no list", "list of a list", "another one", "null", "text"],
)
def test_figures_of_something_else_are_refused(document: Any) -> None:
    """They have to be about the workflow that was asked for."""
    with pytest.raises(ODD):
        parse_figures("seq", document)


def test_model_has_its_settings_and_workers() -> None:
    """A worker without a process has none yet."""
    model = parse_model(MODEL)
    assert (model.version, model.url, model.response_timeout_s) == ("1.0", "m.mar", 120)
    assert (model.min_workers, model.max_workers, model.batch_size, model.max_batch_delay_ms) == (1, 2, 3, 50)
    assert model.workers == {"9000": (17, True), "9001": (0, False), "9002": (0, True)}
    assert model.ready_workers == 2


@pytest.mark.parametrize("field", [name for name in MODEL if name != "modelName"])
def test_model_that_lacks_something_is_refused(field: str) -> None:
    """Each field is needed to compare it with what it should be."""
    with pytest.raises(ODD):
        parse_model({name: value for name, value in MODEL.items() if name != field})
