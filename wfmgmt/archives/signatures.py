"""Detached signatures of archives, as `ssh-keygen -Y sign` makes them, and the keys that are accepted.

A signature stands for the archive's SHA-256, so the archive is read once, and never held in memory.

Source:
    OpenSSH, PROTOCOL.sshsig; RFC 4253, section 6.6, and RFC 8709 for the forms of keys and signatures.
"""

import binascii
import errno
import hashlib
import importlib
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from wfmgmt.archives.stores import SIGNATURE_SUFFIX
from wfmgmt.domain.names import quoted
from wfmgmt.errors import ArchiveNotSigned, FolderUnavailable, InvalidArchive
from wfmgmt.errors.commands import SettingsInvalid
from wfmgmt.folders import read_file

#: Longest signature; those of Ed25519 have some 300 bytes.
MAX_SIGNATURE_BYTES = 16 * 1024
#: What signatures have to be made for, so that those for mail or commits are none of archives.
NAMESPACE = "wfmgmt"
_HASH = "sha256"
_KEY_TYPE = b"ssh-ed25519"
_KEY_BYTES, _SIGNATURE_BYTES = 32, 64
_MAGIC, _VERSION = b"SSHSIG", 1
_ARMOR = re.compile(rb"\s*-----BEGIN SSH SIGNATURE-----\s+([A-Za-z0-9+/=\s]+)-----END SSH SIGNATURE-----\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """A signature that was read, and not checked yet.

    Attributes:
        key: The public key that it says to be made with: 32 bytes of Ed25519.
        value: The 64 bytes that the key has to have made.
    """

    key: bytes
    value: bytes


class Signers:
    """The Ed25519 keys whose signatures archives need: each file `*.pub` of a folder has one. Thread-safe.

    The folder is read for each check, so a key counts, or counts no more, as soon as its file is there or gone.

    Args:
        folder: Where the keys are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def check_usable(self) -> None:
        """Check at a start that signatures can be checked.

        Raises:
            SettingsInvalid: There is no key, a file is not one, or the library is missing.
        """
        try:
            keys = self._keys()
        except OSError as error:
            raise SettingsInvalid(f"WFMGMT_SIGNERS: {error.filename}: {error.strerror}") from error
        except ValueError as error:
            raise SettingsInvalid(f"WFMGMT_SIGNERS: {error}") from error
        if not keys:
            raise SettingsInvalid(f"WFMGMT_SIGNERS: {self._folder} has no public key; expected files named *.pub")
        try:
            _is_made_by(next(iter(keys)), bytes(_SIGNATURE_BYTES), b"")
        except ImportError as error:
            raise SettingsInvalid(
                "WFMGMT_SIGNERS: the library cryptography is missing; pip install 'wfmgmt[signers]'"
            ) from error

    def require(self, archive: str, signature: bytes | None) -> bytes:
        """Return the signature of an archive, which has to be there.

        Raises:
            ArchiveNotSigned: It is not.
        """
        if signature is None:
            raise ArchiveNotSigned(archive, "it has no signature")
        return signature

    def check(self, archive: str, sha256: str, signature: bytes | None) -> str:
        """Return who signed an archive: the name of the key's file without its ending.

        Args:
            archive: Its name, for the error.
            sha256: Its digest.
            signature: The content of the file with its signature; None when there is no such file.

        Raises:
            ArchiveNotSigned: It has no signature, or one that is not accepted.
            FolderUnavailable: The keys cannot be read.
        """
        content = self.require(archive, signature)
        try:
            found = parse_signature(content)
        except ValueError as error:
            raise ArchiveNotSigned(archive, f"its signature {error}") from error
        try:
            signer = self._keys().get(found.key)
        except OSError as error:
            raise FolderUnavailable("signers", error) from error
        except ValueError as error:
            without_key = OSError(errno.EINVAL, "it has a file *.pub without an Ed25519 public key")
            raise FolderUnavailable("signers", without_key) from error
        if signer is None:
            reason = f"it is signed with the key {_fingerprint(found.key)}, which is not accepted"
            raise ArchiveNotSigned(archive, reason)
        if not _is_made_by(found.key, found.value, _signed_message(sha256)):
            raise ArchiveNotSigned(archive, f"its signature by {signer} is for other content")
        return signer

    def _keys(self) -> dict[bytes, str]:
        """Return who has which key.

        Raises:
            OSError: The folder, or a file in it, cannot be read.
            ValueError: A file has no key; the text names it.
        """
        return {_public_key(file): file.stem for file in sorted(self._folder.iterdir()) if file.suffix == ".pub"}


def parse_signature(content: bytes) -> Signature:
    """Read the file of a signature.

    Raises:
        ValueError: It is none that could be accepted; the text is the rest of a sentence.
    """
    armored = _ARMOR.fullmatch(content)
    if armored is None:
        raise ValueError("is not an SSH signature")
    try:
        blob = binascii.a2b_base64(armored[1])
        magic, version, rest = blob[:6], blob[6:10], blob[10:]
        key, namespace, _, hash_name, value = _strings(rest, 5)
        key_type, key_value = _strings(key, 2)
        value_type, signed = _strings(value, 2)
    except (ValueError, struct.error) as error:
        raise ValueError("is damaged") from error
    if magic != _MAGIC or int.from_bytes(version) != _VERSION:
        raise ValueError("is of an unknown version")
    if namespace != NAMESPACE.encode():
        raise ValueError(f"was made for the namespace {_shown(namespace)}, not {NAMESPACE!r} (-n {NAMESPACE})")
    if hash_name != _HASH.encode():
        raise ValueError(f"was made over a digest by {_shown(hash_name)}, not {_HASH!r} (-O hashalg={_HASH})")
    if {key_type, value_type} != {_KEY_TYPE} or (len(key_value), len(signed)) != (_KEY_BYTES, _SIGNATURE_BYTES):
        raise ValueError("is not one of an Ed25519 key")
    return Signature(key=key_value, value=signed)


def signature_beside(archive: Path, name: str) -> bytes | None:
    """Return the signature that lies beside an archive, None when there is none that can be read, or it is too long.

    Args:
        archive: Where the archive lies.
        name: What it is called there, or is going to be.

    Raises:
        InvalidArchive: That cannot be found out.
    """
    return read_signature(archive.with_name(name + SIGNATURE_SUFFIX))


def read_signature(path: Path) -> bytes | None:
    """Return the signature at a path, None when there is none that can be read, or it is too long.

    Raises:
        InvalidArchive: That cannot be found out.
    """
    try:
        return read_file(path, MAX_SIGNATURE_BYTES)
    except OSError as error:
        raise InvalidArchive(f"its signature cannot be read: {error.strerror}") from error


def _public_key(file: Path) -> bytes:
    """Return the key in a file as OpenSSH writes it: type, Base64, comment."""
    try:
        words = (read_file(file, MAX_SIGNATURE_BYTES) or b"").split()
        key_type, key = _strings(binascii.a2b_base64(words[1]), 2)
        if words[0] == key_type == _KEY_TYPE and len(key) == _KEY_BYTES:
            return key
    except (ValueError, IndexError, struct.error):
        pass
    raise ValueError(f"{file} is not an Ed25519 public key as ssh-keygen -t ed25519 writes it")


def _strings(blob: bytes, count: int) -> list[bytes]:
    """Return the strings that a blob is made of, each with its length before it.

    Raises:
        ValueError, struct.error: These are not so many, or something follows them.
    """
    found = list(_each_string(blob))
    if len(found) != count:
        raise ValueError(f"{len(found)} strings")
    return found


def _each_string(blob: bytes) -> Iterator[bytes]:
    while blob:
        (length,) = struct.unpack_from(">I", blob)
        if len(blob) < 4 + length:
            raise ValueError("cut off")
        yield blob[4 : 4 + length]
        blob = blob[4 + length :]


def _signed_message(sha256: str) -> bytes:
    """Return what a key signs for an archive."""
    parts = (NAMESPACE.encode(), b"", _HASH.encode(), bytes.fromhex(sha256))
    return _MAGIC + b"".join(struct.pack(">I", len(part)) + part for part in parts)


def _is_made_by(key: bytes, value: bytes, message: bytes) -> bool:
    made: bool = ed25519_module().is_made_by(key, value, message)
    return made


def ed25519_module() -> ModuleType:
    """Return what signs and verifies when it is needed: its library is an extra, and takes 10 MB.

    Raises:
        ImportError: Its library is missing.
    """
    return importlib.import_module("wfmgmt.archives.ed25519")


def _fingerprint(key: bytes) -> str:
    """Return how ssh-keygen -l shows a key."""
    blob = b"".join(struct.pack(">I", len(part)) + part for part in (_KEY_TYPE, key))
    return "SHA256:" + binascii.b2a_base64(hashlib.sha256(blob).digest(), newline=False).decode().rstrip("=")


def _shown(name: bytes) -> str:
    return quoted(name.decode(errors="replace"))
