"""Registering, describing and unregistering versions of a workflow."""

import json

import pytest

from tests.support.management_api import ManagementApi
from wfmgmt.domain.names import RESERVED_VERSIONS

FIELDS_OF_BEFORE = ["workflowName", "workflowUrl", "minWorkers", "maxWorkers", "batchSize", "maxBatchDelay"]
FIELDS_OF_BEFORE += ["workflowDag", "nodes", "registeredAt", "archiveSha256"]


def test_first_registration_without_a_version_is_answered_as_torchserve_does(api: ManagementApi) -> None:
    """Byte for byte; what is new is in headers and in describe."""
    answer = api.answer("POST /workflows?url=seq.war")
    status = "Workflow seq has been registered and scaled successfully."
    assert answer.data == f'{{\n  "status": "{status}"\n}}\n'.encode()
    assert answer.headers["ETag"] == '"1"'
    assert "Location" not in answer.headers
    described = api.describe()
    assert list(described)[: len(FIELDS_OF_BEFORE)] == FIELDS_OF_BEFORE
    added = list(described)[len(FIELDS_OF_BEFORE) :]
    assert added == ["version", "default", "revision", "release", "routes", "state", "storeFile"]
    assert [described[name] for name in ("version", "default", "revision", "release")] == ["1.0", True, 1, 1]
    assert described["routes"] == [{"version": "1.0", "weight": 100}]
    assert api.events() == [("register", "succeeded")]


def test_first_registration_may_name_its_version(api: ManagementApi) -> None:
    """It keeps TorchServe's text."""
    assert api.register("2026-11") == {
        "status": "Workflow seq has been registered and scaled successfully.",
        "version": "2026-11",
        "default": True,
    }
    assert api.describe()["version"] == "2026-11"


def test_further_version_is_loaded_and_gets_no_share(api: ManagementApi) -> None:
    """It can be described, and the default version is as before; the revision counts it once."""
    api.register("1.0")
    answer = api.answer("POST /workflows?url=seq.war&workflow_name=seq&version=2.0")
    assert answer.get_json() == {
        "status": "Workflow seq version 2.0 has been registered and scaled successfully.",
        "version": "2.0",
        "default": False,
    }
    assert (answer.headers["Location"], answer.headers["ETag"]) == ("/workflows/seq/2.0", '"2"')
    assert api.runtime.loads == ["seq/1.0", "seq/2.0"]
    assert (api.describe()["version"], api.describe("seq/2.0")["version"]) == ("1.0", "2.0")
    assert api.describe("seq/2.0/")["default"] is False
    assert [each["version"] for each in api.send("GET /workflows/seq/all")] == ["1.0", "2.0"]
    assert api.send("GET /workflows")["workflows"] == [{"workflowName": "seq", "workflowUrl": "seq.war"}]
    assert [action for action, _ in api.events()] == ["register", "register-version"]


def test_further_version_may_get_everything_at_once(api: ManagementApi) -> None:
    """Registration and release are one change."""
    api.register("1.0")
    answer = api.register("2.0", set_default="true", reason="new tokenizer")
    assert answer["default"] is True
    assert (api.describe()["version"], api.describe()["revision"]) == ("2.0", 2)
    release = api.send("GET /workflows/seq/releases")["releases"][0]
    assert (release["number"], release["kind"], release["reason"]) == (2, "register", "new tokenizer")
    ((detail,),) = api.query("SELECT detail FROM audit_event WHERE action = 'register-version'")
    assert json.loads(detail)["reason"] == "new tokenizer"
    assert json.loads(detail)["after"]["routes"] == [{"version": "2.0", "weight": 100}]


def test_taken_name_is_refused_as_before_with_a_hint(api: ManagementApi) -> None:
    """Status, type and message are TorchServe's."""
    api.send("POST /workflows?url=seq.war")
    assert api.send("POST /workflows?url=seq.war", 409) == {
        "code": 409,
        "type": "ConflictStatusException",
        "message": "Workflow seq is already registered.",
        "hint": "To register another version of seq, name it: version=2.0, for example.",
    }


def test_taken_version_is_refused(two: ManagementApi) -> None:
    """Whether the name of the workflow is given or not."""
    for name in ("", "&workflow_name=seq"):
        answer = two.send(f"POST /workflows?url=other.war&version=2.0{name}", 409)
        assert answer["message"] == "Workflow version 2.0 is already registered for workflow seq"
    assert two.describe()["revision"] == 2
    assert two.events()[-2:] == [("register-version", "failed")] * 2


def test_refusal_is_recorded_as_what_was_asked_for(two: ManagementApi) -> None:
    """A further version, or a workflow whose name is taken."""
    two.send("POST /workflows?url=seq.war&workflow_name=seq&version=3.0", 412, headers={"If-Match": '"1"'})
    assert two.events()[-1] == ("register-version", "failed")
    two.send("POST /workflows?url=seq.war&workflow_name=seq", 409)
    assert two.events()[-1] == ("register", "failed")
    two.send("POST /workflows?url=nosuch.war&workflow_name=seq&version=3.0", 404)
    assert two.events()[-1] == ("register-version", "failed")
    two.send("POST /workflows?url=nosuch.war&workflow_name=other&version=3.0", 404)
    assert two.events()[-1] == ("register", "failed")


def test_version_that_does_not_load_leaves_nothing(two: ManagementApi) -> None:
    """Neither a version nor a revision, but its event."""
    two.runtime.failing.add("3.0")
    two.send("POST /workflows?url=seq.war&version=3.0&set_default=true", 500)
    two.send("GET /workflows/seq/3.0", 404)
    assert (two.describe()["version"], two.describe()["revision"]) == ("1.0", 2)
    assert two.events()[-1] == ("register-version", "failed")


@pytest.mark.parametrize("version", [*RESERVED_VERSIONS, "-1", "a b", "a/b", "x" * 65, "ü"])
def test_reserved_words_and_other_forms_are_no_versions(api: ManagementApi, version: str) -> None:
    """The message says which form they have, or which words are reserved."""
    before = api.state()
    answer = api.send("POST /workflows", 400, json={"url": "seq.war", "version": version})
    assert answer["message"].startswith("Workflow version ")
    assert "is not allowed" in answer["message"]
    assert [line for line in api.state() if "audit_event" not in line] == [
        line for line in before if "audit_event" not in line
    ]


def test_unknown_versions_are_404(two: ManagementApi) -> None:
    """With TorchServe's words for models; of an unknown workflow, the workflow is what is missing."""
    for request in ("GET /workflows/seq/9", "DELETE /workflows/seq/9", "PUT /workflows/seq/9/set-default"):
        answer = two.send(request, 404)
        assert answer["type"] == "WorkflowVersionNotFoundException"
        assert answer["message"] == "Workflow version: 9 does not exist for workflow: seq"
    for request in (
        "GET /workflows/x/1.0",
        "GET /workflows/x/all",
        "DELETE /workflows/x/1.0",
        "GET /workflows/x/releases",
    ):
        assert two.send(request, 404)["message"] == "Workflow not found: x"


def test_paths_of_reserved_words_have_methods_of_their_own(two: ManagementApi) -> None:
    """None of them is taken for a version."""
    for path, allowed in (
        ("rollback", "POST"),
        ("traffic", "GET, HEAD, PUT"),
        ("all", "GET, HEAD"),
        ("explain", "GET, HEAD"),
        ("graph", "GET, HEAD"),
    ):
        answer = two.answer(f"DELETE /workflows/seq/{path}", 405)
        assert answer.headers["Allow"] == allowed
    assert two.send("GET /workflows/seq/latest", 404)["type"] == "ResourceNotFoundException"


def test_set_default_gives_everything_to_a_version(two: ManagementApi) -> None:
    """Answered once the runtime routes by it; the same again changes nothing."""
    answer = two.answer("PUT /workflows/seq/2.0/set-default?reason=better")
    status = 'Default version successfully updated for workflow "seq" to "2.0"'
    assert answer.get_json()["status"] == status
    assert answer.get_json()["release"]["reason"] == "better"
    assert answer.headers["ETag"] == '"3"'
    assert [revision for _, revision in two.runtime.reached] == [3]
    assert two.describe()["version"] == "2.0"
    assert two.describe("seq/1.0")["routes"] == [{"version": "2.0", "weight": 100}]
    again = two.answer("PUT /workflows/seq/2.0/set-default/")
    assert (again.get_json()["status"], again.get_json()["changed"]) == (status, False)
    assert again.headers["ETag"] == '"3"'
    assert two.events()[-1] == ("set-default", "succeeded")
    assert len(two.events()) == 3


def test_version_in_use_is_not_unregistered(two: ManagementApi) -> None:
    """The message says what to do; one that is only mirrored is in use, too."""
    answer = two.send("DELETE /workflows/seq/1.0", 409)
    assert answer["message"] == (
        "Workflow version 1.0 has 100 % of the requests of workflow seq; give that to another version first "
        "(PUT /workflows/seq/traffic, or set-default), or unregister the whole workflow."
    )
    assert two.events()[-1] == ("unregister-version", "failed")
    mirror = {"version": "2.0", "percent": 5}
    two.send("PUT /workflows/seq/traffic", json={"routes": [{"version": "1.0", "weight": 100}], "mirror": mirror})
    assert "gets copies" in two.send("DELETE /workflows/seq/2.0", 409)["message"]


def test_version_without_a_share_is_unregistered_alone(two: ManagementApi) -> None:
    """The workflow stays, with one revision more."""
    answer = two.answer("DELETE /workflows/seq/2.0")
    assert answer.get_json() == {"status": 'Workflow "seq" unregistered'}
    assert answer.headers["ETag"] == '"3"'
    assert len(two.runtime.loaded) == 1
    two.send("GET /workflows/seq/2.0", 404)
    assert two.describe()["revision"] == 3
    assert two.events()[-1] == ("unregister-version", "succeeded")


def test_only_version_is_unregistered_with_the_workflow(api: ManagementApi) -> None:
    """That is the end of its releases, too."""
    api.register("1.0")
    answer = api.answer("DELETE /workflows/seq/1.0")
    assert "ETag" not in answer.headers
    api.send("GET /workflows/seq", 404)
    assert api.events()[-1] == ("unregister", "succeeded")


def test_workflow_is_unregistered_with_all_versions(two: ManagementApi) -> None:
    """All workers go; the name is free."""
    assert two.send("DELETE /workflows/seq") == {"status": 'Workflow "seq" unregistered'}
    assert two.runtime.loaded == set()
    two.send("POST /workflows?url=seq.war")
    assert two.describe()["release"] == 1
