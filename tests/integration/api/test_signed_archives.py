"""Registrations where archives have to be signed: from the stores, uploaded, downloaded."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.factories import make_mar, make_war
from tests.support.management_api import ManagementApi, management_api
from tests.support.signing import make_key, sign
from tests.support.web_files import web_files


@pytest.fixture(name="key", scope="module")
def _key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the key that is accepted, alone in its folder."""
    return make_key(tmp_path_factory.mktemp("signers"))


@pytest.fixture(name="signed")
def _signed(tmp_path: Path, instance: Path, key: Path) -> Iterator[ManagementApi]:
    """Run an application that accepts signed archives only."""
    folder = shutil.copytree(instance, tmp_path / "i")
    with management_api(folder, signers=key.parent, allowed_urls=[".*"]) as api:
        yield api


def _stores(api: ManagementApi) -> tuple[Path, Path]:
    settings = api.services.settings
    return settings.workflow_store, settings.model_store


def _refused(api: ManagementApi, archive: str, reason: str, **parameters: Any) -> None:
    answer = api.client.post("/workflows", json={"url": archive, **parameters})
    facts = answer.get_json()
    assert (answer.status_code, facts["type"]) == (403, "ArchiveNotSignedException")
    assert reason in facts["message"]
    assert facts["hint"].startswith("To sign it: ssh-keygen -Y sign ")


def _events(api: ManagementApi) -> list[dict[str, Any]]:
    return [json.loads(detail) for (detail,) in api.query("SELECT detail FROM audit_event ORDER BY id")]


def test_registration_needs_the_signatures_of_all_its_archives(signed: ManagementApi, key: Path) -> None:
    """403 until each is there; the trail says who signed what, and what was refused."""
    workflows, models = _stores(signed)
    _refused(signed, "seq.war", "Archive seq.war is not signed as this service requires (WFMGMT_SIGNERS): it has no")
    sign(key, workflows / "seq.war")
    _refused(signed, "seq.war", "Archive m1.mar is not signed as this service requires (WFMGMT_SIGNERS): it has no")
    sign(key, models / "m1.mar")
    signed.send("POST /workflows", json={"url": "seq.war"})
    assert signed.events() == [("register", "failed"), ("register", "failed"), ("register", "succeeded")]
    first, second, made = _events(signed)
    assert first["error"]["type"] == second["error"]["type"] == "ArchiveNotSigned"
    assert (made["signer"], made["nodes"]["m1"]["signer"]) == ("release", "release")
    assert second["archive_sha256"] == made["archive_sha256"]


def test_dry_run_and_later_registration_are_refused_alike(signed: ManagementApi, key: Path) -> None:
    """A plan says what would happen; what can be seen at once is not accepted for later."""
    _refused(signed, "seq.war", "it has no signature", dry_run="true")
    _refused(signed, "seq.war", "it has no signature", synchronous="false")
    workflows, _ = _stores(signed)
    sign(key, workflows / "seq.war")
    _refused(signed, "seq.war", "Archive m1.mar", dry_run="true")


def test_archive_that_changes_after_it_was_signed_is_refused(signed: ManagementApi, key: Path) -> None:
    """Nothing of it is looked at: a file that is no archive at all gets the same answer."""
    workflows, _ = _stores(signed)
    sign(key, workflows / "seq.war")
    (workflows / "seq.war").write_bytes(b"no archive")
    _refused(signed, "seq.war", "its signature by release is for other content")


def test_what_is_registered_needs_no_signature_any_more(signed: ManagementApi, key: Path, instance: Path) -> None:
    """The service starts again over it, and describes it, without signatures and with another key."""
    workflows, models = _stores(signed)
    signatures = [sign(key, workflows / "seq.war"), sign(key, models / "m1.mar")]
    signed.register("1.0")
    for signature in signatures:
        signature.unlink()
    assert signed.describe()["storeFile"] == "same"
    _refused(signed, "seq.war", "it has no signature", version="2.0")


def test_reports_say_what_is_not_signed(signed: ManagementApi, key: Path) -> None:
    """Among what keeps an archive from being registered."""
    _, models = _stores(signed)
    (problem,) = signed.send("GET /archives/models/m1.mar")["problems"]
    assert problem.startswith("Archive m1.mar is not signed as this service requires")
    sign(key, models / "m1.mar")
    assert signed.send("GET /archives/models/m1.mar")["problems"] == []


def test_signatures_are_uploaded_beside_archives(signed: ManagementApi, key: Path, tmp_path: Path) -> None:
    """In any order; lists do not show them, and they go with their archive."""
    archive = make_mar(tmp_path, name="up")
    signature = sign(key, archive)
    stored = signed.client.put("/archives/models/up.mar.sig", data=signature.read_bytes())
    assert (stored.status_code, stored.get_json()["report"], "Location" in stored.headers) == (201, None, False)
    uploaded = signed.client.put("/archives/models/up.mar", data=archive.read_bytes())
    assert (uploaded.status_code, uploaded.get_json()["report"]["problems"]) == (201, [])
    assert [each["file"] for each in signed.send("GET /archives/models")["archives"]] == ["m1.mar", "up.mar"]
    signed.send("DELETE /archives/models/up.mar")
    _, models = _stores(signed)
    assert sorted(path.name for path in models.iterdir()) == ["m1.mar"]


@pytest.mark.parametrize("body", [b"", b"PK\x03\x04", b"x" * 20_000], ids=["empty", "zip", "long"])
def test_upload_of_what_is_no_signature_is_refused(signed: ManagementApi, body: bytes) -> None:
    """400, and nothing is stored."""
    answer = signed.client.put("/archives/models/up.mar.sig", data=body)
    assert (answer.status_code, answer.get_json()["type"]) == (400, "BadRequestException")
    assert not list(_stores(signed)[1].glob("*.sig"))


def test_download_needs_the_signature_beside_its_address(signed: ManagementApi, key: Path, tmp_path: Path) -> None:
    """It is looked for first, so an archive without one is not downloaded; nothing is left of either."""
    archive = make_war(tmp_path, name="fun", spec="dag: {pre_processing: []}\n")
    signature = sign(key, archive)
    before = [sorted(store.iterdir()) for store in _stores(signed)]
    with web_files() as web:
        url = web.put("/a/fun.war?token=s3cret", archive)
        address = web.url("/a/fun.war.sig")
        _refused(signed, url, f"its signature is not there: Failed to download archive from: {address}: it answered")
        assert web.asked == ["/a/fun.war.sig?token=s3cret"]
        web.files["/a/fun.war.sig?token=s3cret"] = b"x" * 100_000
        _refused(signed, url, "its signature is longer than 16384 bytes")
        assert [sorted(store.iterdir()) for store in _stores(signed)] == before
        web.put("/a/fun.war.sig?token=s3cret", signature)
        signed.send("POST /workflows", json={"url": url})
    assert _events(signed)[-1]["signer"] == "release"
    (new,) = {path.name for path in _stores(signed)[0].iterdir()} - {path.name for path in before[0]}
    assert new.startswith("fun-")
