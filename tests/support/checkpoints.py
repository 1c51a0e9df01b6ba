"""Checkpoints of audit trails, and keys made by openssl as the documentation says."""

import re
import subprocess
import tempfile
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.records import make_event
from tests.support.service import CHECKOUT
from wfmgmt.domain.checkpoints import Checkpoint
from wfmgmt.registry.registry import Registry
from wfmgmt.services.anchor_keys import SigningKey
from wfmgmt.services.anchoring import Anchoring
from wfmgmt.services.anchors import Anchor, FileAnchor

ORIGIN = "0123456789ab"
NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)


def make_checkpoint(**overrides: Any) -> Checkpoint:
    """Return the first checkpoint of a trail of one row."""
    values: dict[str, Any] = {
        "origin": ORIGIN,
        "id": 1,
        "hash": "a" * 64,
        "previous": "0" * 64,
        "at": "2026-01-31T12:00:00.000000Z",
    }
    return Checkpoint(**{**values, **overrides})


def chained(count: int) -> list[Checkpoint]:
    """Return so many checkpoints, each of which names the one before."""
    chain = [make_checkpoint()]
    while len(chain) < count:
        chain.append(make_checkpoint(id=chain[-1].id + 100, previous=chain[-1].digest))
    return chain


@cache
def _pair(name: str, kind: str) -> tuple[bytes, bytes]:
    """Return a private key and its public one, made by the commands of the documentation; the same for one name."""
    del name
    page = (CHECKOUT / "docs" / "how-to" / "audit.md").read_text(encoding="utf-8")
    (commands,) = re.findall(r"^```sh\n(.*?openssl.*?)^```", page, flags=re.DOTALL | re.MULTILINE)
    with tempfile.TemporaryDirectory() as folder:
        command = ["sh", "-ec", commands.replace("ed25519", kind)]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        return Path(folder, "audit.key").read_bytes(), Path(folder, "audit.pub").read_bytes()


def make_keys(folder: Path, name: str = "audit", *, kind: str = "ed25519") -> tuple[Path, Path]:
    """Write a pair of keys in PEM, and return the files of the private and of the public one."""
    files = folder / f"{name}.key", folder / f"{name}.pub"
    for file, content in zip(files, _pair(name, kind), strict=True):
        file.touch(mode=0o600)
        file.write_bytes(content)
    return files


class Trail:
    """An audit trail with an anchor, and a clock of its own.

    Args:
        registry: Has the trail.
        folder: For the anchor, the keys and the instance.
    """

    def __init__(self, registry: Registry, folder: Path) -> None:
        self.registry = registry
        self.folder = folder
        self.file = folder / "anchor"
        self.now = NOON
        self.outcomes: list[str] = []
        self.private, self.public = make_keys(folder)
        with registry.write() as writer:
            self.origin = writer.identity()

    def record(self, count: int) -> None:
        """Add rows."""
        with self.registry.write() as writer:
            for number in range(count):
                writer.record(make_event(f"w{number}"))

    def anchoring(self, anchor: Anchor | None = None) -> Anchoring:
        """Return what a process of the service has that has just begun."""
        return Anchoring(
            registry=self.registry,
            anchor=anchor or FileAnchor(self.file),
            key=SigningKey(self.private),
            kept=self.folder / "kept",
            on_attempt=self.outcomes.append,
            clock=lambda: self.now,
        )

    def run_anew(self) -> None:
        """Do what a process does that has just begun: write what may not be written yet, then make what is due."""
        anchoring = self.anchoring()
        anchoring.run()
        anchoring.run()

    def checkpoints(self) -> list[Checkpoint]:
        """Return what is in the anchor."""
        return [Checkpoint.parse(line) for line in self.file.read_text().splitlines()]

    def ids(self) -> list[int]:
        """Return the rows that it names."""
        return [each.id for each in self.checkpoints()]
