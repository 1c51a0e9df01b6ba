"""Explanations over the API."""

from tests.support.management_api import ManagementApi


def test_explanation_says_what_is_known(two: ManagementApi) -> None:
    """As JSON, with the last change, and what differs from the version before."""
    explained = two.send("GET /workflows/seq/2.0/explain")
    assert (explained["workflow"], explained["version"]) == ("seq", "2.0")
    assert explained["summary"].startswith("seq 2.0 is ")
    assert [node["name"] for node in explained["nodes"]] == ["pre_processing", "m1", "post_processing"]
    assert explained["nodes"][1]["lines"][0]["text"] == "seq 2.0 each 5 2000"
    assert explained["lastChange"]["action"] == "register-version"
    assert (explained["diff"]["from"], explained["diff"]["to"]) == ("1.0", "2.0")
    assert two.send("GET /workflows/seq/explain")["diff"] is None


def test_explanation_is_text_for_those_who_prefer_that(two: ManagementApi) -> None:
    """Anybody else gets JSON."""
    answer = two.answer("GET /workflows/seq/explain", headers={"Accept": "text/plain"})
    assert (answer.content_type, answer.headers["Vary"]) == ("text/plain; charset=utf-8", "Accept")
    text = answer.get_data(as_text=True)
    assert text.startswith("seq 1.0 is ")
    assert "Last change: register-version by anonymous at " in text
    for accepted in ("*/*", "text/html, */*;q=0.8", "image/png"):
        assert two.answer("GET /workflows/seq/explain", headers={"Accept": accepted}).is_json


def test_silent_runtime_is_the_first_problem(two: ManagementApi) -> None:
    """What the registry has is still known."""
    two.runtime.problem = "The runtime does not answer."
    explained = two.send("GET /workflows/seq/explain")
    assert explained["state"] == "unknown"
    assert explained["problems"][0]["what"].startswith("The runtime does not answer.")
    assert len(explained["nodes"]) == 3


def test_failed_registration_is_named(api: ManagementApi) -> None:
    """The name is free again, and the 404 says why."""
    api.runtime.failing.add("1.0")
    api.send("POST /workflows?url=seq.war", 500)
    for path in ("explain", "logs", "1.0/logs"):
        error = api.send(f"GET /workflows/seq/{path}", 404)
        assert "the test makes it fail" in error["hint"]
        assert error["operation"].startswith("/operations/")
    assert "hint" not in api.send("GET /workflows/none/explain", 404)


def test_cancelled_registration_is_named(api: ManagementApi) -> None:
    """With who did it."""
    path = api.send("POST /workflows?url=seq.war&workflow_name=seq&synchronous=false", 202)["operation"]
    api.send(f"POST {path}/cancel", 202)
    error = api.send("GET /workflows/seq/explain", 404)
    assert error["hint"].startswith("Its last registration was cancelled at ")
    assert error["hint"].endswith(" by anonymous.")


def test_registration_under_way_is_explained(api: ManagementApi) -> None:
    """Although there is nothing to describe yet."""
    uid = api.send("POST /workflows?url=seq.war&workflow_name=seq&synchronous=false", 202)["operation"]
    explained = api.send("GET /workflows/seq/explain")
    assert (explained["state"], explained["operations"]) == ("registering", [uid])
    assert "waits for its turn" in explained["problems"][0]["what"]
