"""Signatures by ssh-keygen, and keys in a folder."""

import hashlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.signing import make_key, sign
from wfmgmt.archives.signatures import MAX_SIGNATURE_BYTES, Signers, parse_signature, signature_beside
from wfmgmt.errors import ArchiveNotSigned, FolderUnavailable
from wfmgmt.errors.commands import SettingsInvalid

CONTENT = b"an archive"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(name="key", scope="module")
def _key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_key(tmp_path_factory.mktemp("keys"))


@pytest.fixture(name="archive")
def _archive(tmp_path: Path) -> Path:
    path = tmp_path / "x.war"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture(name="folder")
def _folder(tmp_path: Path, key: Path) -> Path:
    folder = tmp_path / "signers"
    folder.mkdir()
    shutil.copy(key.with_suffix(".pub"), folder)
    (folder / "README").write_text("not a key")
    return folder


def test_signer_is_named_by_the_file_of_the_key(folder: Path, key: Path, archive: Path) -> None:
    """The signature is found beside the archive, under its name."""
    sign(key, archive)
    assert Signers(folder).check("x.war", SHA256, signature_beside(archive, "x.war")) == "release"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, "its signature by release is for other content"),
        ({"namespace": "file"}, "its signature was made for the namespace 'file', not 'wfmgmt' (-n wfmgmt)"),
        ({"digest": "sha512"}, "made over a digest by 'sha512', not 'sha256' (-O hashalg=sha256)"),
    ],
    ids=["content", "namespace", "digest"],
)
def test_signature_for_something_else_is_refused(
    folder: Path, key: Path, archive: Path, change: dict[str, str], reason: str
) -> None:
    """The error says what is wrong, and how to sign."""
    signature = sign(key, archive, **change).read_bytes()
    with pytest.raises(ArchiveNotSigned) as raised:
        Signers(folder).check("x.war", "0" * 64, signature)
    assert reason in str(raised.value)
    assert "ssh-keygen -Y sign -O hashalg=sha256 -n wfmgmt" in str(raised.value.hint)


def test_other_key_is_refused_unless_it_is_there(folder: Path, tmp_path: Path, archive: Path) -> None:
    """A change of the folder counts at once."""
    other = make_key(tmp_path, "other")
    signature = sign(other, archive).read_bytes()
    signers = Signers(folder)
    with pytest.raises(ArchiveNotSigned, match=r"signed with the key SHA256:[A-Za-z0-9+/]{43}, which is not accepted"):
        signers.check("x.war", SHA256, signature)
    shutil.copy(other.with_suffix(".pub"), folder)
    assert signers.check("x.war", SHA256, signature) == "other"
    (folder / "other.pub").unlink()
    with pytest.raises(ArchiveNotSigned, match="not accepted"):
        signers.check("x.war", SHA256, signature)


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda _: b"\x00" * 64,
        lambda text: text.replace(b"U1NI", b"AAAA"),
        lambda text: text[:80] + text[-30:],
        lambda text: text.replace(b"SSH SIGNATURE", b"PGP SIGNATURE"),
        lambda text: text + b"x",
        lambda text: text.replace(b"AAAAAQ", b"AAAA/Q"),
    ],
    ids=["empty", "raw", "magic", "cut", "other", "longer", "version"],
)
def test_damaged_signature_is_refused(key: Path, archive: Path, damage: Callable[[bytes], bytes]) -> None:
    """It is a sentence, whatever the file has."""
    with pytest.raises(ValueError, match="is "):
        parse_signature(damage(sign(key, archive).read_bytes()))


def test_no_byte_of_a_signature_can_be_changed(folder: Path, key: Path, archive: Path) -> None:
    """Each of them matters, or the signature is refused for its form."""
    lines = sign(key, archive).read_bytes().splitlines()
    signers, blob = Signers(folder), b"".join(lines[1:-1])
    for position in range(0, len(blob) - 4, 7):
        other = b"B" if blob[position : position + 1] == b"A" else b"A"
        changed = blob[:position] + other + blob[position + 1 :]
        with pytest.raises(ArchiveNotSigned):
            signers.check("x.war", SHA256, b"\n".join([lines[0], changed, lines[-1]]))


def test_signature_that_is_no_file_or_too_long_is_none(archive: Path) -> None:
    """Neither a folder nor a long file is read."""
    beside = archive.with_name("x.war.sig")
    beside.mkdir()
    assert signature_beside(archive, "x.war") is None
    beside.rmdir()
    beside.write_bytes(b"x" * (MAX_SIGNATURE_BYTES + 1))
    assert signature_beside(archive, "x.war") is None


def test_key_of_another_kind_stops_a_start(folder: Path, tmp_path: Path) -> None:
    """And is no reason to accept anything later."""
    shutil.copy(make_key(tmp_path, "old", kind="ecdsa").with_suffix(".pub"), folder)
    with pytest.raises(SettingsInvalid, match=r"WFMGMT_SIGNERS: .*/old\.pub is not an Ed25519 public key"):
        Signers(folder).check_usable()


def test_key_that_goes_bad_refuses_all(folder: Path, key: Path, archive: Path) -> None:
    """A broken file may be the one that matters, and a later attempt may find it repaired."""
    signature = sign(key, archive).read_bytes()
    (folder / "new.pub").write_text("ssh-ed25519 AAAA")
    with pytest.raises(FolderUnavailable, match=r"folder of the signers .*\.pub without an Ed25519 public key"):
        Signers(folder).check("x.war", SHA256, signature)


def test_folder_without_keys_stops_a_start(tmp_path: Path) -> None:
    """Nothing could be registered."""
    with pytest.raises(SettingsInvalid, match=r"has no public key; expected files named \*\.pub"):
        Signers(tmp_path).check_usable()
    with pytest.raises(SettingsInvalid, match="No such file"):
        Signers(tmp_path / "gone").check_usable()


def test_missing_library_stops_a_start(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line says what to install."""
    Signers(folder).check_usable()
    monkeypatch.delitem(sys.modules, "wfmgmt.archives.ed25519")
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    with pytest.raises(SettingsInvalid, match=r"pip install 'wfmgmt\[signers\]'"):
        Signers(folder).check_usable()
