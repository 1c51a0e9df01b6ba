"""Uploads: what is stored, what is refused, and that nothing is left of the latter."""

import base64
import hashlib
import io
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.factories import make_mar, make_war
from tests.support.management_api import ManagementApi, uploaded_at_once
from wfmgmt.archives.receiving import Receiver
from wfmgmt.archives.stores import StoreFolders
from wfmgmt.errors import RegistryUnavailable, WfmgmtError
from wfmgmt.errors.uploads import StoreFull, UploadTooLarge
from wfmgmt.registry.writing import Writer

ZEROS = base64.b64encode(bytes(32)).decode()


@pytest.fixture(name="archive")
def _archive(tmp_path: Path) -> bytes:
    return make_mar(tmp_path, name="made").read_bytes()


def _put(api: ManagementApi, path: str, data: bytes, **more: Any) -> Any:
    return api.client.put(f"/archives/{path}", data=data, **more)


def _files(api: ManagementApi) -> dict[str, bytes]:
    """Return all files in the stores, hidden ones too."""
    settings = api.services.settings
    stores = (settings.workflow_store, settings.model_store)
    return {f"{store.name}/{path.name}": path.read_bytes() for store in stores for path in store.iterdir()}


def test_upload_is_stored_once_and_recorded_once(api: ManagementApi, archive: bytes) -> None:
    """201 the first time, 200 for the same bytes, and a row in the trail for what was stored."""
    before = _files(api)
    answer = _put(api, "models/up.mar", archive)
    assert (answer.status_code, answer.headers["Location"]) == (201, "/archives/models/up.mar")
    facts = answer.get_json()
    digest = hashlib.sha256(archive).hexdigest()
    assert (facts["file"], facts["sha256"], facts["bytes"]) == ("up.mar", digest, len(archive))
    assert facts["report"]["problems"] == []
    assert _put(api, "models/up.mar", archive).status_code == 200
    assert _files(api) == {**before, "model_store/up.mar": archive}
    assert api.events() == [("upload", "succeeded")]


def test_other_bytes_are_refused_unless_they_may_replace_what_nobody_uses(
    api: ManagementApi, archive: bytes, tmp_path: Path
) -> None:
    """409 names what would help, and a file that a workflow uses is not replaced in any case."""
    other = make_mar(tmp_path, name="other").read_bytes()
    assert _put(api, "models/up.mar", archive).status_code == 201
    refused = _put(api, "models/up.mar", other)
    assert refused.status_code == 409
    assert "replace=true" in refused.get_json()["message"]
    assert _put(api, "models/up.mar?replace=true", other).status_code == 201
    assert _files(api)["model_store/up.mar"] == other
    api.register("1.0")
    war = make_war(tmp_path, name="another").read_bytes()
    before = _files(api)
    used = _put(api, "workflows/seq.war?replace=true", war)
    assert used.status_code == 409
    assert used.get_json()["message"] == "Archive seq.war is used by seq 1.0; unregister that first."
    assert _files(api) == before


@pytest.mark.parametrize(
    ("path", "headers", "kind"),
    [
        ("models/up.mar?sha256=" + "0" * 64, {}, "DigestMismatchException"),
        ("models/up.mar?sha256=1", {}, "BadRequestException"),
        ("models/up.mar", {"Repr-Digest": f"sha-256=:{ZEROS}:"}, "DigestMismatchException"),
        ("models/up.mar", {"Repr-Digest": "md5=:x:"}, "BadRequestException"),
        ("models/up.mar", {"Content-Encoding": "gzip"}, "BadRequestException"),
        ("models/up.mar?plan=p-0123456789abcdef", {}, "BadRequestException"),
        ("models/up.mar?sha=1", {}, "BadRequestException"),
        ("models/up.war", {}, "BadRequestException"),
        ("models/.up.mar", {}, "BadRequestException"),
        ("models/a..b.mar", {}, "BadRequestException"),
        ("models/%00.mar", {}, "BadRequestException"),
    ],
)
def test_wrong_upload_is_refused_and_leaves_nothing(
    api: ManagementApi, archive: bytes, path: str, headers: dict[str, str], kind: str
) -> None:
    """The answer says what is wrong, and the trail has it as failed."""
    before = _files(api)
    answer = _put(api, path, archive, headers=headers)
    assert (answer.status_code, answer.get_json()["type"]) == (400, kind), answer.get_json()
    assert _files(api) == before
    assert api.events() == [("upload", "failed")]


def test_body_that_is_no_archive_is_refused(api: ManagementApi) -> None:
    """So is one that ends early."""
    before = _files(api)
    answer = _put(api, "models/up.mar", b"hello")
    assert (answer.status_code, "not an archive" in answer.get_json()["message"]) == (400, True)
    short = api.client.put("/archives/models/up.mar", input_stream=io.BytesIO(b"PK"), headers={"Content-Length": "10"})
    assert short.status_code == 400
    assert _files(api) == before


def test_matching_digests_are_taken_and_a_dry_run_stores_nothing(api: ManagementApi, archive: bytes) -> None:
    """Both ways to name a digest; the dry run answers what would be stored."""
    digest = hashlib.sha256(archive)
    headers = {"Repr-Digest": f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"}
    before = _files(api)
    answer = _put(api, f"models/up.mar?dry_run=true&sha256={digest.hexdigest()}", archive, headers=headers)
    assert (answer.status_code, answer.get_json()["sha256"]) == (200, digest.hexdigest())
    assert _files(api) == before
    assert _put(api, "models/up.mar", archive, headers=headers).status_code == 201


def test_many_uploads_of_one_name_store_one(api: ManagementApi, tmp_path: Path) -> None:
    """One is stored; those with its bytes are answered 200, all others 409."""
    bodies = [make_mar(tmp_path, name=f"m{n}").read_bytes() for n in range(2)]
    assert uploaded_at_once(api, "up.mar", bodies) == {201: 1, 200: 7, 409: 8}
    assert not [name for name in _files(api) if ".part" in name]


@pytest.mark.parametrize("query", ["", "?replace=true"])
def test_upload_that_cannot_be_recorded_is_taken_back(
    api: ManagementApi, archive: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, query: str
) -> None:
    """What was replaced is there again, too."""
    if query:
        assert _put(api, "models/up.mar", make_mar(tmp_path, name="other").read_bytes()).status_code == 201
    before = _files(api)

    def fail(*_: object) -> None:
        raise RegistryUnavailable("on purpose")

    monkeypatch.setattr(Writer, "record", fail)
    assert _put(api, f"models/up.mar{query}", archive).status_code == 503
    assert _files(api) == before


def test_receiver_keeps_to_the_limits(tmp_path: Path) -> None:
    """The limit of the file goes first; nothing is read of a body that is declared too large."""
    folders = StoreFolders.at(workflow=tmp_path, model=tmp_path)
    (tmp_path / "there.mar").write_bytes(bytes(60))

    def refused(pieces: Any, declared: int | None, **limits: int) -> WfmgmtError:
        with pytest.raises(WfmgmtError) as caught:
            Receiver(folders, **limits).receive("model", "x.mar", pieces, owner="o", declared_bytes=declared)
        assert [path.name for path in tmp_path.iterdir()] == ["there.mar"]
        return caught.value

    unread = iter([b"x"])
    assert isinstance(refused(unread, 101, max_bytes=100, max_store_bytes=100), UploadTooLarge)
    assert isinstance(refused(unread, 41, max_bytes=100, max_store_bytes=100), StoreFull)
    assert next(unread) == b"x"
    assert isinstance(refused([bytes(50), bytes(51)], None, max_bytes=100, max_store_bytes=0), UploadTooLarge)
    assert isinstance(refused([bytes(41)], None, max_bytes=100, max_store_bytes=100), StoreFull)


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
def test_what_is_no_file_is_never_opened(api: ManagementApi, archive: bytes, kind: str) -> None:
    """A pipe would hang, and a device has no end."""
    path = api.services.settings.model_store / "odd.mar"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    for query in ("", "?replace=true"):
        refused = _put(api, f"models/odd.mar{query}", archive)
        assert (refused.status_code, "another file odd.mar" in refused.get_json()["message"]) == (409, True)
