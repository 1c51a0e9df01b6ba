"""The removal of archives that no version uses, over a real registry and a real disk."""

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.factories import make_mar
from tests.support.kept import kept_digests, kept_entry, kept_parts
from tests.support.records import make_node, make_registry, make_workflow
from wfmgmt.archives.kept import RUNTIME, KeptArchives
from wfmgmt.registry.registry import Registry
from wfmgmt.services.archive_sweep import ArchiveSweep
from wfmgmt.services.leases import Leases
from wfmgmt.services.registration_queue import HOLDER_PREFIX


@dataclass
class Instance:
    """What the sweep works on; its clock can be ahead of that of the machine."""

    folder: Path
    registry: Registry
    leases: Leases
    kept: KeptArchives
    ahead_s: float = 0.0
    keep_s: int = 60

    def keep(self, name: str, owner: str = "nobody") -> str:
        """Keep an archive and return its digest."""
        with self.kept.of(owner).part(is_unpacked=False) as part, part.open(make_mar(self.folder, name=name)):
            return part.keep().sha256

    def record(self, war: str, *models: str) -> None:
        """Record a version that uses archives."""
        nodes = tuple(make_node(f"m{number}", model_sha256=digest) for number, digest in enumerate(models))
        with self.registry.write() as writer:
            writer.claim_name(make_workflow(f"w{war[:8]}", archive_sha256=war, nodes=nodes, edges=()))

    def sweep(self) -> set[str]:
        """Sweep, and return the digests that were removed."""
        sweep = ArchiveSweep(
            registry=self.registry,
            kept=self.kept,
            leases=self.leases,
            keep_s=self.keep_s,
            clock=lambda: time.time_ns() + int(self.ahead_s * 1e9),
        )
        return set(sweep.run())


@pytest.fixture(name="instance")
def _instance(tmp_path: Path) -> Iterator[Instance]:
    (tmp_path / "leases").mkdir()
    registry = make_registry(tmp_path)
    yield Instance(tmp_path, registry, Leases(tmp_path / "leases"), KeptArchives(tmp_path / "archives"))
    registry.close()


def test_archives_go_that_no_version_uses_after_a_while(instance: Instance) -> None:
    """Those of versions stay, whatever their status and however old they are."""
    war, model, unused = (instance.keep(name) for name in ("war", "model", "unused"))
    instance.record(war, model)
    assert instance.sweep() == set()
    instance.ahead_s = 55
    assert instance.sweep() == set()
    instance.ahead_s = 61
    assert instance.sweep() == {unused}
    assert kept_digests(instance.folder / "archives") == {war, model}


def test_time_is_that_since_the_last_use(instance: Instance) -> None:
    """An archive that was just unregistered stays for a while, however long it was registered."""
    digest = instance.keep("m")
    os.utime(kept_entry(instance.folder / "archives", digest), ns=(0, 0))
    instance.kept.touch({digest})
    instance.ahead_s = 55
    assert instance.sweep() == set()
    instance.ahead_s = 61
    assert instance.sweep() == {digest}


def test_archive_of_a_registration_under_way_stays(instance: Instance) -> None:
    """From the moment in which it is kept, however long the registration takes and however little is to be kept."""
    instance.keep_s = 0
    with instance.leases.take() as lease:
        digest = instance.keep("m", lease)
        instance.ahead_s = 86_400
        assert instance.sweep() == set()
        instance.record(digest)
    assert instance.sweep() == set()


def test_lease_of_a_process_keeps_nothing(instance: Instance) -> None:
    """It lives as long as the service, and is no work."""
    instance.keep_s = 0
    with instance.leases.take(prefix=HOLDER_PREFIX):
        digest = instance.keep("m")
        assert instance.sweep() == {digest}


def test_archive_of_a_registration_that_died_goes(instance: Instance) -> None:
    """It was kept, and never recorded; what had begun to be kept goes, too, but not what the runtime makes."""
    instance.keep_s = 0
    digest = instance.keep("m", "dead")
    new, dead, runtime = make_mar(instance.folder, name="new"), instance.kept.of("dead"), instance.kept.of(RUNTIME)
    with dead.part() as one, one.open(new), runtime.part() as other, other.open(new):
        assert instance.sweep() == {digest}
        assert [part.split("-")[0] for part in kept_parts(instance.folder / "archives")] == [f".{RUNTIME}"]


def test_registrations_find_what_they_kept_while_all_else_is_swept(instance: Instance) -> None:
    """Several that use the same archive, with a sweep that waits for nothing."""
    instance.keep_s, stop, lost = 0, threading.Event(), list[str]()
    source = make_mar(instance.folder, name="m")

    def register() -> None:
        for _ in range(20):
            with instance.leases.take() as lease, instance.kept.of(lease).part() as part, part.open(source):
                digest = part.keep().sha256
                if instance.kept.file(digest) is None:
                    lost.append(lease)

    def sweep() -> None:
        while not stop.is_set():
            instance.sweep()

    sweeper = threading.Thread(target=sweep)
    threads = [threading.Thread(target=register) for _ in range(3)]
    for thread in (sweeper, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    sweeper.join()
    assert lost == []
