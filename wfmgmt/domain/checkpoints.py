"""Checkpoints of the audit trail: lines that are kept elsewhere, each of which names a row and the line before it."""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Self

from wfmgmt.domain.audit import FIRST_PREVIOUS_HASH, Receipt, canonical_json

_HASH = re.compile("[0-9a-f]{64}")
_FORMS = {
    "origin": re.compile("[0-9a-f]{12}"),
    "hash": _HASH,
    "previous": _HASH,
    "at": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"),
    "signature": re.compile("[A-Za-z0-9+/]{86}==|"),
}

#: Returns whether a signature was made over a message with the right key.
SignatureCheck = Callable[[bytes, bytes], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What the audit trail was at a moment.

    Attributes:
        origin: Identity of the installation.
        id: Number of the newest row.
        hash: Its hash, which stands for all rows before it, too.
        previous: Digest of the checkpoint before; zeros for the first one.
        at: When it was made.
        signature: In Base64, of Ed25519; empty when there is no key.
    """

    origin: str
    id: int
    hash: str
    previous: str
    at: str
    signature: str = ""

    @property
    def line(self) -> str:
        """The canonical JSON that stands for it in an anchor."""
        return canonical_json({name: value for name, value in asdict(self).items() if value != ""})

    @property
    def digest(self) -> str:
        """SHA-256 of the line, by which the next checkpoint names it."""
        return hashlib.sha256(self.line.encode()).hexdigest()

    @property
    def message(self) -> bytes:
        """What is signed: the line without the signature."""
        return canonical_json({name: value for name, value in asdict(self).items() if name != "signature"}).encode()

    @property
    def receipt(self) -> Receipt:
        """The row that it names."""
        return Receipt(self.id, self.hash)

    def is_signed(self, check: SignatureCheck) -> bool:
        """Return whether its signature is there and right."""
        return self.signature != "" and check(base64.b64decode(self.signature), self.message)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a line; spaces and the order of keys do not matter.

        Raises:
            ValueError: The text is no checkpoint.
        """
        values = json.loads(text)
        if not isinstance(values, dict) or not {"signature", *values} == set(cls.__slots__):
            raise ValueError("expected a checkpoint")
        number = values["id"]
        if type(number) is not int or not 1 <= number < 10**18:
            raise ValueError("expected the number of a row as id")
        for name, form in _FORMS.items():
            if not form.fullmatch(str(values.get(name, ""))):
                raise ValueError(f"{name} has the wrong form")
        datetime.fromisoformat(values["at"])
        return cls(**values)


class AnchorBroken(Exception):
    """A line of an anchor does not fit.

    Args:
        line: Its number in the file.
        reason: What is wrong with it.
    """

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line} does not fit: {reason}")


def check_chain(
    checkpoints: Iterable[tuple[int, Checkpoint]], *, origin: str | None, check: SignatureCheck | None = None
) -> None:
    """Check that checkpoints are all that were made, in their order. One may be there again, as it may be sent again.

    Args:
        checkpoints: Each with the number of its line.
        origin: Identity of the installation that has to have made them.
        check: Checks their signatures, which they have to have then.

    Raises:
        AnchorBroken: One does not fit.
    """
    last: Checkpoint | None = None
    seen = set()
    for number, each in checkpoints:
        if each in seen:
            continue
        if each.origin != origin:
            raise AnchorBroken(number, f"it is of the installation {each.origin}, and the database of {origin}")
        if check is not None and not each.is_signed(check):
            raise AnchorBroken(number, "its signature is wrong" if each.signature else "it is not signed")
        if last is None and each.previous != FIRST_PREVIOUS_HASH:
            raise AnchorBroken(number, "checkpoints before it are missing")
        if last is not None and each.previous != last.digest:
            raise AnchorBroken(number, "it does not name the line before it, which was changed, removed or added")
        if last is not None and each.id <= last.id:
            raise AnchorBroken(number, "its row is not newer than that of the line before it")
        last = each
        seen.add(each)


def encoded(signature: bytes) -> str:
    """Return a signature as a checkpoint has it."""
    return binascii.b2a_base64(signature, newline=False).decode()
