"""Registrations whose archives come with them, in a form: what is registered, and that nothing else is left."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.factories import make_mar, make_war
from tests.support.management_api import ManagementApi
from tests.support.service import wait_until

HEAD = b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n'
FORM = "multipart/form-data; boundary=b"


@pytest.fixture(name="archives")
def _archives(tmp_path: Path) -> dict[str, bytes]:
    """A workflow whose archive is in no store, with a model that is not, either."""
    spec = "models: {m9: {url: m9.mar}}\ndag: {m9: []}\n"
    war = make_war(tmp_path, name="fresh", spec=spec, handler=None)
    return {"fresh.war": war.read_bytes(), "m9.mar": make_mar(tmp_path, name="m9").read_bytes()}


def send(api: ManagementApi, archives: dict[str, bytes], path: str = "/workflows", **more: Any) -> Any:
    """Register with these archives, and return the answer."""
    headers = more.pop("headers", None)
    parts: dict[str, Any] = {**more, "archive": [], "model": []}
    for name, content in archives.items():
        parts["archive" if name.removesuffix(".sig").endswith(".war") else "model"].append((io.BytesIO(content), name))
    return api.client.post(path, data=parts, content_type="multipart/form-data", headers=headers)


def files(api: ManagementApi) -> dict[str, bytes]:
    """Return all files in the stores, hidden ones too."""
    settings = api.services.settings
    stores = (settings.workflow_store, settings.model_store)
    return {path.name: path.read_bytes() for store in stores for path in store.iterdir()}


def test_archives_are_registered_and_go_with_their_version(api: ManagementApi, archives: dict[str, bytes]) -> None:
    """They have names in the stores as downloads have, until the workflow is unregistered; the trail has one row."""
    before = files(api)
    answer = send(api, archives, version="1.0", reason="first")
    assert (answer.status_code, answer.json["version"]) == (200, "1.0")
    assert files(api) == {**before, **archives}
    assert api.describe("fresh")["workflowUrl"] == "fresh.war"
    assert api.events() == [("register", "succeeded")]
    api.send("DELETE /workflows/fresh")
    assert files(api) == before


def test_names_that_are_taken_are_no_hindrance(api: ManagementApi, archives: dict[str, bytes], tmp_path: Path) -> None:
    """Of the workflow and of the model: those in the stores stay as they are, and are not what is registered."""
    (api.services.settings.model_store / "m9.mar").write_bytes(b"another one")
    assert send(api, archives).status_code == 200
    changed = make_war(tmp_path, name="fresh", spec="models: {m9: {url: m9.mar}}\ndag: {m9: []}\n", handler=b"# 2")
    again = send(api, {**archives, "fresh.war": changed.read_bytes()}, version="2.0")
    assert again.status_code == 200, again.text
    assert api.describe("fresh")["storeFile"] == api.describe("fresh/2.0")["storeFile"] == "same"
    stored = files(api)
    assert (stored["m9.mar"], stored["fresh.war"]) == (b"another one", archives["fresh.war"])
    assert sum(name.startswith("fresh") for name in stored) == 2


def test_models_may_come_with_an_archive_of_the_store(api: ManagementApi, archives: dict[str, bytes]) -> None:
    """The form has its name as `url` then."""
    (api.services.settings.workflow_store / "fresh.war").write_bytes(archives.pop("fresh.war"))
    assert send(api, archives, url="fresh.war").status_code == 200
    assert set(archives) <= set(files(api))


def test_form_without_a_file_is_like_any_other(api: ManagementApi) -> None:
    """As curl -F sends it."""
    answer = api.client.post("/workflows", data={"url": "seq.war"}, content_type="multipart/form-data")
    assert answer.status_code == 200, answer.text


def test_plan_says_that_archives_were_uploaded(api: ManagementApi, archives: dict[str, bytes]) -> None:
    """And nothing of them is left."""
    before = files(api)
    plan = send(api, archives, dry_run="true").json
    assert (plan["action"], plan["archive"]["source"], len(plan["models"])) == ("create", "upload", 1)
    assert (files(api), api.events()) == (before, [])


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        (lambda sent: sent.pop("m9.mar"), 400, "Model not found at: m9.mar"),
        (lambda sent: sent.update({"m9.mar": b"no zip"}), 400, "The body is not an archive"),
        (
            lambda sent: sent.update({"two.war": sent["fresh.war"]}),
            400,
            "one archive of a workflow, got 'two.war'",
        ),
        (lambda sent: sent.update({"../x.war": sent.pop("fresh.war")}), 400, "File name '../x.war'"),
        (lambda sent: sent.update({".x.war": sent.pop("fresh.war")}), 400, "File name '.x.war'"),
        (lambda sent: sent.update({"x.zip": sent.pop("fresh.war")}), 400, "File name 'x.zip'"),
        (lambda sent: sent.pop("fresh.war"), 400, "Parameter url is required"),
    ],
    ids=["no model", "no archive", "two", "folder", "hidden", "suffix", "no workflow"],
)
def test_refused_form_leaves_nothing(
    api: ManagementApi, archives: dict[str, bytes], change: Any, status: int, message: str
) -> None:
    """The refusal names the file, and is in the trail."""
    before = files(api)
    change(archives)
    refused = send(api, archives)
    assert (refused.status_code, message in refused.json["message"]) == (status, True), refused.text
    assert files(api) == before
    assert api.events() == [("register", "failed")]


def test_file_that_comes_twice_is_refused(api: ManagementApi, archives: dict[str, bytes]) -> None:
    """Which of them would count is not for the service to guess."""
    files_ = [(io.BytesIO(archives["m9.mar"]), "m9.mar") for _ in range(2)]
    refused = api.client.post("/workflows", data={"model": files_}, content_type="multipart/form-data")
    assert (refused.status_code, refused.get_json()["message"]) == (400, "The file 'm9.mar' comes twice.")


def test_failed_load_leaves_nothing(api: ManagementApi, archives: dict[str, bytes]) -> None:
    """Neither in the stores nor among what is kept."""
    before = files(api)
    api.runtime.failing.add("1.0")
    assert send(api, archives).status_code == 500
    assert files(api) == before
    assert [path for path in (api.services.settings.archives_folder / "sha256").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "Parameter url is required"),
        (b"--b--\r\n", "Parameter url is required"),
        (b"nonsense", "no complete multipart/form-data"),
        (HEAD % (b"url", b"") + b"seq.war", "no complete multipart/form-data"),
        (HEAD % (b"archive", b'; filename="seq.war"') + b"PK", "no complete multipart/form-data"),
        (b"--b\r\nX: y\r\n\r\nz\r\n--b--\r\n", "no complete multipart/form-data"),
        (HEAD % (b"url", b"") + b"\xff\r\n--b--\r\n", "Parameter 'url': expected UTF-8"),
        (HEAD % (b"reason", b"") + b"x" * 70_000 + b"\r\n--b--\r\n", "the values of the form are too long"),
        (HEAD % (b"urk", b"") + b"x\r\n--b--\r\n", "did you mean url"),
        (HEAD % (b"url", b"") + b"x\r\n" + (HEAD % (b"reason", b"") + b"x\r\n") * 400, "more than 300 parts"),
        (b"--b\r\n" + b"X: " + b"y" * 2_000_000, "a part whose head is too large"),
        ((HEAD % (b"url", b"") + b"x\r\n") * 2 + b"--b--\r\n", "Parameter url: the form has it twice"),
        (HEAD % (b"other", b'; filename="x"') + b"x\r\n--b--\r\n", "Part 'other' with the file 'x'"),
    ],
    ids=[
        "empty",
        "no part",
        "no form",
        "value cut off",
        "file cut off",
        "no name",
        "not text",
        "long value",
        "unknown parameter",
        "many parts",
        "long head",
        "value twice",
        "unknown file",
    ],
)
def test_hostile_form_is_refused(api: ManagementApi, body: bytes, message: str) -> None:
    """With a 400 that says where, and nothing left."""
    before = files(api)
    refused = api.client.post("/workflows", data=body, content_type=FORM)
    assert (refused.status_code, message in refused.get_json()["message"]) == (400, True), refused.text
    assert files(api) == before


def test_form_without_a_boundary_is_refused(api: ManagementApi) -> None:
    """It cannot be read."""
    refused = api.client.post("/workflows", data=b"x", content_type="multipart/form-data")
    assert "expected a boundary" in refused.get_json()["message"]


def test_archive_and_url_exclude_each_other(api: ManagementApi, archives: dict[str, bytes]) -> None:
    """In the query, too."""
    for refused in (send(api, archives, url="seq.war"), send(api, archives, "/workflows?url=seq.war")):
        assert (refused.status_code, "is not needed" in refused.json["message"]) == (400, True), refused.text


def test_same_form_is_carried_out_once_under_a_key(api: ManagementApi, archives: dict[str, bytes]) -> None:
    """Whatever its boundary; another file is another request."""
    key = {"Idempotency-Key": "once"}
    first, again = (send(api, archives, headers=key) for _ in range(2))
    assert (first.status_code, again.status_code, again.data) == (200, 200, first.data)
    assert again.headers["idempotent-replayed"] == "true"
    other = send(api, {**archives, "m9.mar": archives["fresh.war"]}, headers=key)
    assert (other.status_code, other.json["type"]) == (422, "IdempotencyKeyReusedException")


def test_archives_stay_for_a_registration_that_is_carried_out_later(
    api: ManagementApi, archives: dict[str, bytes]
) -> None:
    """As parts that nobody sees, until it is done; this process alone can carry it out."""
    before = files(api)
    accepted = send(api, archives, synchronous="false")
    assert accepted.status_code == 202
    waiting = files(api).keys() - before.keys()
    assert waiting
    assert all(name.startswith(".") for name in waiting)
    api.services.registration_queue.dispatch()
    wait_until(lambda: api.send(f"GET {accepted.json['operation']}")["done"], what="the registration")
    wait_until(lambda: files(api) == {**before, **archives}, what="the end of the parts")
    assert api.send("GET /workflows/fresh")


def test_archives_go_with_a_registration_that_is_cancelled_before_it_began(
    api: ManagementApi, archives: dict[str, bytes]
) -> None:
    """Nothing waits for the end of the process."""
    before = files(api)
    operation = send(api, archives, synchronous="false").json["operation"]
    api.send(f"POST {operation}/cancel", 202)
    api.services.registration_queue.dispatch()
    assert files(api) == before


def test_archives_go_with_a_registration_that_fails_later(api: ManagementApi, archives: dict[str, bytes]) -> None:
    """The operation has the reason."""
    before = files(api)
    del archives["m9.mar"]
    operation = send(api, archives, synchronous="false").json["operation"]
    api.services.registration_queue.dispatch()
    wait_until(lambda: api.send(f"GET {operation}")["done"], what="the registration")
    assert "Model not found at: m9.mar" in json.dumps(api.send(f"GET {operation}")["error"])
    wait_until(lambda: files(api) == before, what="the end of the parts")


def test_registration_that_is_cancelled_while_it_loads_leaves_nothing(
    api: ManagementApi, archives: dict[str, bytes]
) -> None:
    """As one of an archive of the store."""
    before = files(api)
    api.runtime.may_load.clear()
    operation = send(api, archives, synchronous="false").json["operation"]
    api.services.registration_queue.dispatch()
    wait_until(lambda: api.runtime.loads, what="the load")
    api.send(f"POST {operation}/cancel", 202)
    api.services.operations.write_progress()
    wait_until(lambda: api.send(f"GET {operation}")["state"] == "cancelled", what="the end")
    api.runtime.may_load.set()
    wait_until(lambda: files(api) == before, what="the end of the parts")


def test_registrations_with_archives_that_wait_are_bounded(
    api: ManagementApi, archives: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each holds its parts, and one lease however many there are; one more is asked to come back."""
    monkeypatch.setattr("wfmgmt.services.registration_queue.MAX_OWN", 2)
    before, leases = files(api), api.services.settings.run_folder / "leases"
    paths = [send(api, archives, synchronous="false", workflow_name=name).json["operation"] for name in "ab"]
    assert len([path for path in leases.iterdir() if path.name.startswith("upload-")]) == 2
    refused = send(api, archives, synchronous="false", workflow_name="c")
    assert (refused.status_code, "what came along (2)" in refused.json["message"]) == (503, True)
    for path in paths:
        api.send(f"POST {path}/cancel", 202)
    api.services.registration_queue.dispatch()
    assert files(api) == before


def test_archives_of_one_name_do_not_wait_for_each_other(api: ManagementApi, archives: dict[str, bytes]) -> None:
    """Those of two clients have nothing to do with each other, nor with one in the store."""
    for _ in range(2):
        assert send(api, archives, synchronous="false").status_code == 202
