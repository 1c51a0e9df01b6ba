"""Anchors: files on real disks, and addresses of real servers."""

import logging
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.checkpoints import ORIGIN, chained, make_checkpoint, make_keys
from tests.support.scripted_server import ANY, Behaviour, ScriptedServer, answer, drip, raw, redirect, stall
from tests.support.small_disk import SmallDisks
from wfmgmt.errors.commands import NotAnchored, SettingsInvalid
from wfmgmt.services.anchor_keys import SigningKey, signature_check
from wfmgmt.services.anchors import FileAnchor, UrlAnchor, make_anchor

FIRST, SECOND, THIRD = chained(3)
DONE = answer(b"", status="204 No Content", length=None)
#: A private key with a passphrase.
ENCRYPTED = b"""-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGbMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAhXjADIrMLCTAICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEECCoAAKtRqIEMkbqyu3M/ogEQMQB
H33ReLXZ8a8DfFAB8TeT2E4qCx7cOTz4uNZAvspxJT6CArkf8BspYsPBi6ILXOhK
h5VCfZ8U+gDXmNQegxM=
-----END ENCRYPTED PRIVATE KEY-----
"""


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    return tmp_path / "anchor"


def lines(file: Path) -> list[str]:
    """Return what a file has."""
    return file.read_text().splitlines()


def test_file_gets_each_checkpoint_once(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Also when it is not known whether it has it already."""
    anchor = FileAnchor(file)
    assert anchor.last() is None
    for checkpoint in (FIRST, FIRST, SECOND):
        anchor.append(checkpoint)
        FileAnchor(file).append(checkpoint)
        assert anchor.last() == checkpoint
    assert lines(file) == [FIRST.line, SECOND.line]
    assert file.stat().st_mode & 0o777 == 0o600
    assert caplog.messages == []


@pytest.mark.parametrize("written", [0, 1, 200])
def test_file_gets_the_rest_of_a_line_that_was_begun(
    file: Path, caplog: pytest.LogCaptureFixture, written: int
) -> None:
    """As a full disk, or a process that was killed, leaves it."""
    file.write_text(f"{FIRST.line}\n{SECOND.line[:written]}")
    FileAnchor(file).append(SECOND)
    assert lines(file) == [FIRST.line, SECOND.line]
    assert caplog.messages == []


@pytest.mark.parametrize(
    "content",
    [
        "",
        f"{FIRST.line}\n",
        f"{make_checkpoint(id=101).line}\n",
        f"{SECOND.line}\nx",
        "x\n",
        "\xff\n",
        f"{SECOND.line}\n\n",
    ],
    ids=["empty", "line removed", "other line", "junk", "no checkpoint", "no text", "empty line"],
)
def test_file_that_was_changed_is_reported_and_grows(
    file: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    """Nothing in it is touched, so a verification shows what was done."""
    file.write_text(content, encoding="latin-1")
    FileAnchor(file).append(THIRD)
    assert file.read_bytes().startswith(content.encode("latin-1"))
    assert file.read_bytes().endswith(f"{THIRD.line}\n".encode())
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "lines were changed or removed, or it is another file" in record.getMessage()


def test_full_disk_is_named_and_leaves_no_wrong_line(tmp_path: Path) -> None:
    """Once there is space the line is completed."""
    with SmallDisks(tmp_path / "disk", size="64k") as disks:
        file = disks.outside(tmp_path / "disk") / "anchor"
        anchor = FileAnchor(file)
        anchor.append(FIRST)
        before = file.stat().st_size
        with file.open("ab") as opened:  # So that the next line begins in the last page and ends in the next one.
            opened.write(b" " * (4096 - before - 101) + b"\n")
        disks.fill(tmp_path / "disk")
        with pytest.raises(NotAnchored, match=r"anchor cannot be written: No space left on device"):
            anchor.append(SECOND)
        assert file.read_text().rpartition("\n")[2] == SECOND.line[:100]
        disks.free(tmp_path / "disk")
        anchor.append(SECOND)
        assert [line for line in lines(file) if line.strip()] == [FIRST.line, SECOND.line]


def test_missing_folder_is_named(tmp_path: Path) -> None:
    """It is not made: the disk that belongs there may not be mounted."""
    with pytest.raises(NotAnchored, match=r"gone/anchor cannot be written: No such file or directory"):
        FileAnchor(tmp_path / "gone" / "anchor").append(FIRST)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.mkdir(), "Is a directory"),
        (os.mkfifo, ""),
        (lambda path: path.symlink_to(path.parent / "no" / "where"), "No such file or directory"),
        (lambda path: path.write_text(f"{FIRST.line}\n"), f"of the installation {ORIGIN}, and the database is that of"),
    ],
    ids=["folder", "pipe", "link to nowhere", "another installation"],
)
def test_start_is_refused_with_what_cannot_be_an_anchor(file: Path, make: Callable[[Path], object], said: str) -> None:
    """At once, and without waiting for anybody at the other end of a pipe."""
    make(file)
    with pytest.raises(SettingsInvalid, match=f"WFMGMT_AUDIT_ANCHOR: .*{said}"):
        FileAnchor(file).check_usable("b" * 12)


def test_start_makes_the_file_or_takes_its_own(file: Path) -> None:
    """Also before there is a database."""
    FileAnchor(file).check_usable(ORIGIN)
    FileAnchor(file).append(FIRST)
    FileAnchor(file).check_usable(ORIGIN)
    FileAnchor(file).check_usable(None)
    assert lines(file) == [FIRST.line]


def test_address_gets_a_post_of_the_line() -> None:
    """With the credentials of the address, and as JSON."""
    with ScriptedServer(DONE) as server:
        UrlAnchor(server.url("/a?k=v", host="u:p@127.0.0.1"), allowed_urls=ANY).append(FIRST)
        (request,) = server.requests
    assert request.startswith("POST /a?k=v HTTP/1.1\r\n")
    assert "Authorization: Basic dTpw" in request
    assert "Content-Type: application/json" in request
    assert request.endswith(f"\r\n\r\n{FIRST.line}\n")


@pytest.mark.parametrize(
    ("behave", "said"),
    [
        (answer(b"", status="500 No"), "it answered with status 500"),
        (redirect("/b"), "it answered with status 302"),
        (raw(b"what?"), "the answer is not valid HTTP"),
        (stall, "it was not complete after 0.3 s"),
        (drip(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"), "it was not complete after 0.3 s"),
    ],
    ids=["error", "redirect", "no HTTP", "silence", "dripping"],
)
def test_address_that_does_not_take_it_is_named_without_its_secrets(behave: Behaviour, said: str) -> None:
    """Within the time, whatever it does."""
    with ScriptedServer(behave) as server:
        started = time.monotonic()
        with pytest.raises(NotAnchored) as refused:
            UrlAnchor(server.url("/a?secret"), allowed_urls=ANY, timeout_s=0.3).append(FIRST)
        assert time.monotonic() - started < 5
    assert str(refused.value) == f"the audit anchor {server.url('/a')} does not take a checkpoint: {said}"


def test_address_that_is_down_is_named() -> None:
    """Nothing listens any more."""
    with ScriptedServer(DONE) as server:
        url = server.url("/a")
    with pytest.raises(NotAnchored, match="the connection was refused"):
        UrlAnchor(url, allowed_urls=ANY).append(FIRST)


@pytest.mark.parametrize(
    ("url", "allowed", "said"),
    [
        ("ftp://a.example/x", [], "has to start with http"),
        ("http://127.0.0.1:9/a", [], "WFMGMT_ALLOWED_URLS"),
        ("https://a.example/x", ["https://b.example/.*"], "WFMGMT_ALLOWED_URLS"),
        ("https://a b/", [], "percent-encoded"),
    ],
)
def test_start_is_refused_with_an_address_that_is_not_allowed(url: str, allowed: list[str], said: str) -> None:
    """By the rules for downloads."""
    patterns = [re.compile(each) for each in allowed]
    with pytest.raises(SettingsInvalid, match=f"WFMGMT_AUDIT_ANCHOR: .*{said}"):
        make_anchor(url, allowed_urls=patterns).check_usable(ORIGIN)
    make_anchor("https://a.example/x", allowed_urls=[]).check_usable(ORIGIN)


def test_signatures_fit_the_public_key_and_the_message(tmp_path: Path) -> None:
    """One of several keys is enough, so that an earlier one still counts."""
    private, public = make_keys(tmp_path)
    _, other = make_keys(tmp_path, "other")
    signature = SigningKey(private).sign(b"x")
    assert signature_check([other, public])(signature, b"x")
    assert not signature_check([public])(signature, b"y")
    assert not signature_check([other])(signature, b"x")


def test_start_warns_of_a_key_that_others_can_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """They could sign what they like; the service starts all the same."""
    private, _ = make_keys(tmp_path)
    SigningKey(private).check_usable()
    assert caplog.messages == []
    private.chmod(0o644)
    SigningKey(private).check_usable()
    (message,) = caplog.messages
    assert f"others than its owner may use {private} (mode 0644)" in message


def test_key_that_cannot_sign_stops_a_start(tmp_path: Path) -> None:
    """The line says what is wrong, and how to make one."""
    private, public = make_keys(tmp_path)
    rsa, rsa_public = make_keys(tmp_path, "rsa", kind="rsa")
    secret, empty = tmp_path / "secret", tmp_path / "empty"
    secret.write_bytes(ENCRYPTED)
    empty.touch()
    for file, said in (
        (tmp_path / "gone", "gone: No such file"),
        (tmp_path, "it cannot be read"),
        (empty, "has no private key in PEM; to make one: openssl genpkey -algorithm ed25519"),
        (public, "has no private key in PEM"),
        (rsa, "has a key of another kind than Ed25519"),
        (secret, "has a passphrase"),
    ):
        with pytest.raises(SettingsInvalid, match=f"WFMGMT_AUDIT_KEY: .*{said}"):
            SigningKey(file).check_usable()
    for file, said in (
        (tmp_path / "gone", "gone: No such file"),
        (private, "has no public key in PEM; to make one: openssl pkey"),
        (rsa_public, "has a key of another kind than Ed25519"),
    ):
        with pytest.raises(SettingsInvalid, match=f"--key: .*{said}"):
            signature_check([file])
