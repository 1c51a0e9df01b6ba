"""How archives are sent: whole in each attempt, with how much is sent, and one after the other by the command."""

from pathlib import Path

import pytest

from tests.support.fake_service import FakeService, Reply, error, replies
from wfmgmt.cli.main import main
from wfmgmt.client import Client, archive_calls, errors
from wfmgmt.client.archives import Uploaded

SIZE_BYTES = 100_000
STORED = Reply(
    status=201, body={"file": "seq.war", "sha256": "0a" * 32, "bytes": SIZE_BYTES, "report": {"problems": ["no spec"]}}
)


@pytest.fixture(name="war")
def _war(tmp_path: Path) -> Path:
    war = tmp_path / "seq.war"
    war.write_bytes(bytes(range(250)) * (SIZE_BYTES // 250))
    return war


def test_file_is_sent_whole_in_each_attempt(war: Path) -> None:
    """Under one key; the callback sees it from the begin again."""
    sent: list[tuple[int, int]] = []
    with FakeService(replies(None, STORED)) as service, Client(service.url) as client:
        answer = client.connection.exchange(
            archive_calls.upload(war), on_sent=lambda done, total: sent.append((done, total))
        )
    assert answer.status == 201
    assert [request.line for request in service.requests] == ["PUT /archives/workflows/seq.war"] * 2
    assert [request.body for request in service.requests] == [war.read_bytes()] * 2
    assert len({request.headers["idempotency-key"] for request in service.requests}) == 1
    assert sent.count((SIZE_BYTES, SIZE_BYTES)) >= 2


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("m 1.mar", "/archives/models/m%201.mar"),
        ("m1.mar.sig", "/archives/models/m1.mar.sig"),
        ("seq.war.sig", "/archives/workflows/seq.war.sig"),
    ],
)
def test_name_says_which_store(name: str, path: str, tmp_path: Path) -> None:
    """Signatures go beside what they sign."""
    assert archive_calls.upload(tmp_path / name).path == path


def test_name_that_says_no_store_is_refused(tmp_path: Path) -> None:
    """Before anything is sent."""
    with pytest.raises(ValueError, match=r"ends in \.war or \.mar.*notes\.txt"):
        archive_calls.upload(tmp_path / "notes.txt")


def test_upload_returns_what_the_store_has(war: Path) -> None:
    """With the parameters that were given."""
    with FakeService(lambda _: STORED) as service, Client(service.url) as client:
        uploaded = client.upload(war, name="x.war", replace=True, sha256="0a" * 32, reason="new")
    assert uploaded == Uploaded(file="seq.war", sha256="0a" * 32, bytes=SIZE_BYTES, report={"problems": ["no spec"]})
    assert service.requests[0].path == "/archives/workflows/x.war"
    assert service.requests[0].query == {"replace": "true", "sha256": "0a" * 32, "reason": "new"}


def test_digest_that_differs_is_an_error_of_its_own(war: Path) -> None:
    """Callers can send the file again."""
    refused = error(400, "DigestMismatchException", "another digest")
    with (
        FakeService(lambda _: refused) as service,
        Client(service.url) as client,
        pytest.raises(errors.DigestMismatch),
    ):
        client.upload(war)


def test_command_sends_file_after_file(war: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It prints a line for each, and why one could not be registered."""
    mar = tmp_path / "m1.mar"
    mar.write_bytes(b"m")
    with FakeService(lambda _: STORED) as service:
        assert main(["upload", str(war), str(mar), "--url", service.url]) == 0
    assert [request.path for request in service.requests] == ["/archives/workflows/seq.war", "/archives/models/m1.mar"]
    line = f"seq.war {SIZE_BYTES} {'0a' * 32}\n  cannot be registered: no spec\n"
    assert capsys.readouterr().out == line * 2


def test_command_says_how_curl_does_it(war: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is sent."""
    assert main(["upload", str(war), "--curl", "--reason", "a b", "--url", "http://127.0.0.1:9"]) == 0
    assert capsys.readouterr().out == f"curl -T {war} 'http://127.0.0.1:9/archives/workflows/seq.war?reason=a%20b'\n"


def test_command_refuses_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It names the file and why, before anything is sent."""
    with pytest.raises(SystemExit, match="2"):
        main(["upload", str(tmp_path / "absent.war"), "--url", "http://127.0.0.1:9"])
    assert "absent.war': No such file" in capsys.readouterr().err
