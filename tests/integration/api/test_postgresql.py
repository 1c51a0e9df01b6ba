"""What looks at workflows and archives, over a PostgreSQL database."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.factories import make_mar
from tests.support.management_api import ManagementApi, carrying_out, make_instance, management_api, uploaded_at_once
from tests.support.postgresql import postgresql
from wfmgmt.registry.schema import upgrade


@pytest.fixture(name="over_postgresql", scope="module")
def _over_postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ManagementApi]:
    """Run the application with two versions of `seq`."""
    with postgresql() as url:
        upgrade(url)
        folder: Path = make_instance(tmp_path_factory.mktemp("p") / "instance")
        with management_api(folder, database_url=url) as api:
            api.register("1.0")
            api.register("2.0", url="other.war", workflow_name="seq")
            yield api


def test_explanation_has_what_the_database_says(over_postgresql: ManagementApi) -> None:
    """The last change and the difference to the version before; a registration that failed is named."""
    api = over_postgresql
    explained = api.send("GET /workflows/seq/2.0/explain")
    assert explained["lastChange"]["action"] == "register-version"
    assert (explained["diff"]["from"], explained["diff"]["to"]) == ("1.0", "2.0")
    text = api.answer("GET /workflows/seq/explain", headers={"Accept": "text/plain"}).get_data(as_text=True)
    assert "Last change: register-version by anonymous at " in text
    api.runtime.failing.add("3.0")
    api.send("POST /workflows?url=seq.war&workflow_name=new&version=3.0", 500)
    assert "the test makes it fail" in api.send("GET /workflows/new/explain", 404)["hint"]


def test_lists_choose_by_beginnings_of_names(over_postgresql: ManagementApi) -> None:
    """Of workflows and of nodes."""
    for query, names in (
        ("name=se*", ["seq"]),
        ("node=m*", ["seq"]),
        ("node=pre*&state=all", ["seq"]),
        ("name=x*", []),
    ):
        listed = over_postgresql.send(f"GET /workflows?{query}")["workflows"]
        assert [each["workflowName"] for each in listed] == names, query


def test_archives_have_their_users(over_postgresql: ManagementApi) -> None:
    """In lists, reports and refusals."""
    api = over_postgresql
    users = {each["file"]: each["usedBy"] for each in api.send("GET /archives")["archives"]}
    assert [each["version"] for each in users["m1.mar"]] == ["1.0", "2.0"]
    assert users["other.war"] == [{"workflow": "seq", "version": "2.0", "node": None}]
    assert api.send("GET /archives/workflows/other.war")["usedBy"] == users["other.war"]
    assert api.send("DELETE /archives/models/m1.mar", 409)["type"] == "ConflictStatusException"
    assert api.send("DELETE /archives/workflows/fun.war")["status"]


def test_logs_and_graphs_are_shown(over_postgresql: ManagementApi) -> None:
    """Of the version that the database names."""
    assert over_postgresql.send("GET /workflows/seq/2.0/logs?node=m1")["lines"][0]["text"] == "seq 2.0 m1 100"
    drawn = over_postgresql.answer("GET /workflows/seq/2.0/graph?format=text").get_data(as_text=True)
    assert drawn.startswith("seq 2.0: 1 node and 0 edges in 1 step")


def test_audit_trail_is_read(over_postgresql: ManagementApi) -> None:
    """By page and by number, up to those that no event has."""
    api = over_postgresql
    newest = api.send("GET /audit?limit=1")["events"][0]
    assert api.send(f"GET /audit/{newest['id']}") == newest
    assert api.send("GET /audit?before_id=2147483647&limit=1")["events"] == [newest]
    api.send("GET /audit?before_id=2147483648", 400)
    for number in (2147483647, 2147483648, 2**62, 10**30):
        api.send(f"GET /audit/{number}", 404)


def test_uploads_are_stored_once(over_postgresql: ManagementApi, tmp_path: Path) -> None:
    """Of many for one name; what a version uses is not replaced, and the trail fits."""
    api = over_postgresql
    bodies = [make_mar(tmp_path, name=f"m{n}").read_bytes() for n in range(2)]
    assert uploaded_at_once(api, "up.mar", bodies) == {201: 1, 200: 7, 409: 8}
    replaced = [api.client.put("/archives/models/up.mar?replace=true", data=body).status_code for body in bodies]
    assert sorted(replaced) == [200, 201] or replaced == [201, 201]
    used = api.client.put("/archives/models/m1.mar?replace=true", data=bodies[0])
    assert (used.status_code, "seq 1.0 (node m1)" in used.get_json()["message"]) == (409, True)
    assert api.services.registry.verify_audit().broken_at is None
    api.send("DELETE /archives/models/up.mar")


def test_declaration_is_applied(over_postgresql: ManagementApi) -> None:
    """As over SQLite: made, changed by hand, found, and made again."""
    api = over_postgresql
    declared = {"wfmgmt": 1, "workflows": {"declared": {"versions": {"1.0": {"url": "seq.war"}}}}}
    with carrying_out(api):
        assert [each["action"] for each in api.send("POST /apply", json=declared)["results"]] == ["create"]
        assert [each["action"] for each in api.send("POST /apply", json=declared)["results"]] == ["none"]
        api.send("PUT /workflows/declared?max_worker=3", 202)
        (found,) = api.send("GET /drift")["drift"]
        assert (found["workflow"], found["declared"], found["found"]) == ("declared", 1, 3)
        assert [each["action"] for each in api.send("POST /apply", json=declared)["results"]] == ["update"]
        nothing = {"wfmgmt": 1, "workflows": {}}
        assert [each["action"] for each in api.send("POST /apply?prune=true", json=nothing)["results"]] == ["remove"]
