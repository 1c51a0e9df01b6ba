"""What `wfmgmt audit verify` holds the audit trail against: receipts, and the checkpoints in an anchor."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from wfmgmt.domain.audit import Receipt
from wfmgmt.domain.checkpoints import AnchorBroken, Checkpoint, SignatureCheck, check_chain
from wfmgmt.errors import BadRequest


@dataclass(kw_only=True)
class Evidence:
    """Rows that were there.

    Attributes:
        receipts: Receipts of some of them.
        checkpoints: Checkpoints, with the numbers of their lines.
        problem: Why the checkpoints are not all that were made, as they were made; empty when they are.
        note: What else is to be said about them; empty for nothing.
    """

    receipts: list[Receipt] = field(default_factory=list)
    checkpoints: list[tuple[int, Checkpoint]] = field(default_factory=list)
    problem: str = ""
    note: str = ""

    @property
    def rows(self) -> list[Receipt]:
        """All that the trail has to have."""
        return [*self.receipts, *(each.receipt for _, each in self.checkpoints)]

    def __str__(self) -> str:
        kinds = (("receipts", self.receipts), ("checkpoints", self.checkpoints))
        return "".join(f", and {len(found)} {kind}" for kind, found in kinds if found)


def _one_line_each(lines: Iterable[str]) -> Iterator[str]:
    """Yield lines as they are, but an answer of /audit/head, which is indented, as one."""
    left = iter(lines)
    first = next(left, "")
    yield "".join([first.strip(), *(line.strip() for line in left), "\n"]) if first.strip() == "{" else first
    yield from left


def read_evidence(file: Path, *, origin: str | None, check: SignatureCheck | None = None) -> Evidence:
    """Return what a file has: receipts, JSON with id and hash, or checkpoints, one a line.

    Args:
        file: The file.
        origin: Identity of the installation.
        check: Checks signatures of checkpoints, which all lines have to be then.

    Raises:
        BadRequest: A line is none of these, or there is none.
        OSError: The file cannot be read.
    """
    found = Evidence()
    with file.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(_one_line_each(lines), start=1):
            try:
                each = _parsed(line.strip())
            except (ValueError, KeyError, RecursionError) as error:
                if not line.endswith("\n"):
                    found.note = f"line {number} is not complete and does not count"
                    break
                raise BadRequest(f"{file}, line {number}: expected a receipt or a checkpoint.") from error
            if isinstance(each, Checkpoint):
                found.checkpoints.append((number, each))
            elif each is not None:
                found.receipts.append(each)
                if check is not None:
                    found.problem = f"line {number} does not fit: it is not a signed checkpoint"
    if not found.rows:
        raise BadRequest(f"{file}: expected receipts or checkpoints, and there are none.")
    try:
        check_chain(found.checkpoints, origin=origin, check=check)
    except AnchorBroken as broken:
        found.problem = str(broken)
    if check is None and any(each.signature for _, each in found.checkpoints):
        found.note = found.note or "signatures were not checked, which takes --key"
    return found


def _parsed(text: str) -> Receipt | Checkpoint | None:
    """Return what a line has, None for one that is empty."""
    if not text:
        return None
    if not text.startswith("{"):
        return Receipt.parse(text)
    values = json.loads(text)
    return Checkpoint.parse(text) if "origin" in values else Receipt.parse(f"{values['id']}:{values['hash']}")
