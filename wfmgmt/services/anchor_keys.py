"""The keys of checkpoints, in files: the private one signs, public ones verify."""

import errno
import logging
from collections.abc import Sequence
from pathlib import Path

from wfmgmt.archives.signatures import ed25519_module
from wfmgmt.domain.checkpoints import SignatureCheck
from wfmgmt.errors.commands import SettingsInvalid
from wfmgmt.folders import read_file

_log = logging.getLogger("wfmgmt.anchor")

#: Largest file of a key; those of Ed25519 have 120 bytes.
MAX_KEY_BYTES = 16 * 1024
_OTHERS = 0o077


class SigningKey:
    """An Ed25519 private key in PEM, read for each signature, so that it can be replaced. Thread-safe.

    Args:
        file: Has the key.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def check_usable(self) -> None:
        """Check at a start that it signs, and warn when others can read it.

        Raises:
            SettingsInvalid: It does not.
        """
        try:
            self.sign(b"")
            mode = self._file.stat().st_mode & 0o777
        except OSError as error:
            raise SettingsInvalid(f"WFMGMT_AUDIT_KEY: {self._file}: {error.strerror}") from error
        except ValueError as error:
            raise SettingsInvalid(
                f"WFMGMT_AUDIT_KEY: {error}; to make one: openssl genpkey -algorithm ed25519 -out FILE"
            ) from error
        except ImportError as error:
            raise SettingsInvalid(_missing("WFMGMT_AUDIT_KEY")) from error
        if mode & _OTHERS:
            _log.warning(
                "WFMGMT_AUDIT_KEY: others than its owner may use %s (mode %04o), and could sign checkpoints; chmod 600",
                self._file,
                mode,
            )

    def sign(self, message: bytes) -> bytes:
        """Return the signature over a message.

        Raises:
            OSError, ValueError: The file cannot be read, or has no such key; the text names it.
            ImportError: The library is missing.
        """
        try:
            signature: bytes = ed25519_module().signature_by(_content(self._file), message)
        except ValueError as error:
            raise ValueError(f"{self._file} {error}") from error
        return signature


def signature_check(files: Sequence[Path]) -> SignatureCheck:
    """Return what checks signatures by the public keys in these files, in PEM; one of them has to have made it.

    Raises:
        SettingsInvalid: A file has no such key, or the library is missing.
    """
    keys = []
    for file in files:
        try:
            keys.append(ed25519_module().public_key(_content(file)))
        except ImportError as error:
            raise SettingsInvalid(_missing("--key")) from error
        except OSError as error:
            raise SettingsInvalid(f"--key: {file}: {error.strerror}") from error
        except ValueError as error:
            raise SettingsInvalid(
                f"--key: {file} {error}; to make one: openssl pkey -in PRIVATE -pubout -out FILE"
            ) from error
    return lambda signature, message: any(ed25519_module().is_made_by(key, signature, message) for key in keys)


def _content(file: Path) -> bytes:
    """Return what is in a file.

    Raises:
        OSError: It is missing or cannot be read.
    """
    content = read_file(file, MAX_KEY_BYTES)
    if content is None:
        file.stat()  # Says why, unless it is no file, too long, or may not be read.
        raise OSError(errno.EACCES, "it cannot be read", str(file))
    return content


def _missing(setting: str) -> str:
    return f"{setting}: the library cryptography is missing; pip install 'wfmgmt[signers]'"
