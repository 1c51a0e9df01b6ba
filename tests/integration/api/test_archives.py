"""The archives in the stores: lists, reports and removal."""

import time

import pytest

from tests.support.factories import make_mar, make_war
from tests.support.management_api import ManagementApi, loading
from wfmgmt.archives.report import ReportRules
from wfmgmt.domain.archives import ArchiveKind
from wfmgmt.domain.limits import Limits
from wfmgmt.errors import Saturated
from wfmgmt.services import archive_store
from wfmgmt.services.archive_store import ArchiveStore

USE = {"workflow": "seq", "version": "1.0", "node": None}


def names(api: ManagementApi, path: str) -> list[str]:
    """Return the names in a list."""
    return [each["file"] for each in api.send(f"GET {path}")["archives"]]


def test_lists_have_both_stores_and_who_uses_what(api: ManagementApi) -> None:
    """Digests are those of the registrations; a model names its node."""
    api.register("1.0")
    war, mar = (
        next(each for each in api.send("GET /archives/")["archives"] if each["file"] == name)
        for name in ("seq.war", "m1.mar")
    )
    described = api.send("GET /workflows/seq")[0]
    assert (war["kind"], war["sha256"], war["usedBy"]) == ("workflow", described["archiveSha256"], [USE])
    assert (mar["kind"], mar["usedBy"]) == ("model", [{**USE, "node": "m1"}])
    assert war["bytes"] > 100
    assert war["storedAt"].startswith("20")
    assert "m1.mar" not in names(api, "/archives/workflows")
    assert "seq.war" not in names(api, "/archives/models")


def test_pages_follow_each_other_through_both_stores(api: ManagementApi) -> None:
    """Hidden files, folders and files of other kinds are no archives, and no page has a gap for them."""
    store = api.services.settings.model_store
    for name in ("a.mar", ".b.mar", "c.txt"):
        (store / name).write_bytes(b"x")
    (store / "d.mar").mkdir()
    found, path = [], "/archives?limit=1"
    while True:
        page = api.send(f"GET {path}")
        found += [(each["kind"], each["file"]) for each in page["archives"]]
        if "nextAfter" not in page:
            break
        path = f"/archives?limit=1&after={page['nextAfter']}"
    assert found == sorted(found, reverse=False, key=lambda each: (each[0] != "workflow", each[1]))
    assert ("model", "a.mar") in found
    assert not {("model", ".b.mar"), ("model", "c.txt"), ("model", "d.mar")} & set(found)


@pytest.mark.parametrize("query", ["after=x", "after=models/", "after=other/m1.mar", "limit=0", "limit=1001", "sort=x"])
def test_lists_refuse_parameters_that_make_no_sense(api: ManagementApi, query: str) -> None:
    """A cursor is a store and a name."""
    assert api.send(f"GET /archives/workflows?{query}", 400)["type"] == "BadRequestException"


def test_first_page_of_a_full_store_is_quick(api: ManagementApi) -> None:
    """Names are read, and only what is shown is looked at."""
    store = api.services.settings.model_store
    for number in range(10_000):
        (store / f"f{number:05}.mar").touch()
    began = time.process_time()
    page = api.send("GET /archives/models?limit=10")
    assert time.process_time() - began < 1
    assert len(page["archives"]) == 10


def test_digest_is_null_while_there_is_no_time_to_read(api: ManagementApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report reads the file to its end, and lists have the digest from then on."""
    make_mar(api.services.settings.model_store, name="fresh")
    monkeypatch.setattr(archive_store, "MAX_HASHING_S", 0)
    path = "/archives/models?limit=1&after=models/fresh.maq"
    assert api.send(f"GET {path}")["archives"][0]["sha256"] is None
    report = api.send("GET /archives/models/fresh.mar")
    assert api.send(f"GET {path}")["archives"][0]["sha256"] == report["sha256"] is not None


def test_report_says_what_is_in_an_archive_and_who_uses_it(api: ManagementApi) -> None:
    """The report is that of `wfmgmt inspect`, with the file's own facts."""
    api.register("1.0")
    report = api.send("GET /archives/workflows/seq.war")
    assert (report["problems"], report["usedBy"]) == ([], [USE])
    assert [node["inStore"] for node in report["nodes"] if node["kind"] == "model"] == [True]
    make_war(api.services.settings.workflow_store, name="bad", spec="dag: [")
    assert "yaml" in api.send("GET /archives/workflows/bad.war")["problems"][0]


@pytest.mark.parametrize("verb", ["GET", "DELETE"])
@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("workflows/absent.war", 404),
        ("models/absent.mar", 404),
        ("models/seq.war", 404),
        ("workflows/..%2Fmodels%2Fm1.mar", 404),
        ("workflows/a..war", 404),
        ("other/seq.war", 404),
        ("workflows/.hidden.war", 404),
        ("workflows/a%00.war", 404),
        ("workflows/file:seq.war", 404),
    ],
)
def test_names_that_are_no_archive_are_refused(api: ManagementApi, verb: str, path: str, status: int) -> None:
    """What does not exist is a 404 without a row in the trail, and so is what cannot be a name."""
    answer = api.send(f"{verb} /archives/{path}", status)
    assert answer["code"] == status
    assert "/i/" not in answer["message"]
    assert api.events() == []


def test_removal_is_recorded_and_final(api: ManagementApi) -> None:
    """The row has the digest and the reason; a second removal finds nothing."""
    mar = make_mar(api.services.settings.model_store, name="old")
    plan = api.send("DELETE /archives/models/old.mar?dry_run=true")
    assert (plan["action"], plan["archive"]["url"]) == ("remove", "old.mar")
    assert mar.exists()
    assert api.events() == []
    path = f"/archives/models/old.mar?reason=unused&plan={plan['fingerprint']}"
    assert api.send(f"DELETE {path}") == {"status": 'Archive "old.mar" removed'}
    assert not mar.exists()
    assert api.events() == [("remove-archive", "succeeded")]
    (detail,) = api.query("SELECT detail FROM audit_event")[0]
    assert plan["archive"]["sha256"] in detail
    assert "unused" in detail
    assert api.send(f"DELETE {path}", 404)["message"] == "Model not found in model store: old.mar"
    assert len(api.events()) == 1


def test_removal_is_refused_when_the_file_is_not_that_of_the_plan(api: ManagementApi) -> None:
    """Another file under the name is not what was to go."""
    store = api.services.settings.model_store
    make_mar(store, name="old")
    plan = api.send("DELETE /archives/models/old.mar?dry_run=true")
    make_mar(store, name="old", source="other = 1\n")
    path = f"/archives/models/old.mar?plan={plan['fingerprint']}"
    assert api.send(f"DELETE {path}", 409)["type"] == "StalePlanException"


def test_removal_of_what_is_used_names_by_what(api: ManagementApi) -> None:
    """Workflow, version and node; once that is unregistered, the file can go."""
    api.register("1.0")
    refused = api.send("DELETE /archives/models/m1.mar", 409)
    assert refused["message"] == "Archive m1.mar is used by seq 1.0 (node m1); unregister that first."
    assert api.send("DELETE /archives/workflows/seq.war?dry_run=true", 409)["type"] == "ConflictStatusException"
    assert ("remove-archive", "failed") in api.events()
    api.send("DELETE /workflows/seq")
    api.send("DELETE /archives/models/m1.mar")


def test_removal_is_refused_while_a_registration_is_under_way_or_waits(api: ManagementApi) -> None:
    """It counts from the moment it was accepted."""
    waiting = api.send("POST /workflows?url=seq.war&synchronous=false", 202)["operation"]
    assert "that is being registered" in api.send("DELETE /archives/workflows/seq.war", 409)["message"]
    api.send(f"POST {waiting}/cancel", 202)
    with loading(api) as (_, answer):
        for path in ("workflows/seq.war", "models/m1.mar"):
            assert "seq 1.0" in api.send(f"DELETE /archives/{path}", 409)["message"]
    assert answer.result(30).status_code == 200


def test_removal_of_a_link_leaves_what_it_leads_to(api: ManagementApi) -> None:
    """Stores share large files by links."""
    store = api.services.settings.model_store
    shared = make_mar(api.services.settings.instance, name="shared")
    (store / "link.mar").symlink_to(shared)
    api.send("DELETE /archives/models/link.mar")
    assert shared.exists()


def test_as_many_reports_as_allowed_are_made_at_a_time(api: ManagementApi) -> None:
    """One more is refused at once, so that long reading keeps no thread from others."""
    services = api.services
    rules = ReportRules(limits=Limits())
    store = ArchiveStore(
        registry=services.registry, folders=services.folders, kept=services.kept, rules=rules, reports=0
    )
    with pytest.raises(Saturated):
        store.report(ArchiveKind.WORKFLOW, "seq.war")
