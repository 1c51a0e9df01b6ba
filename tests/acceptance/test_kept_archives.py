"""What was registered runs, whatever becomes of the files in the stores."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.support.deployments import prepared
from tests.support.evidence import rows, traces_of
from tests.support.factories import make_mar, make_war
from tests.support.kept import kept_digests, kept_entry, kept_parts
from tests.support.service import Service, wait_until
from tests.support.swaps import WAYS

#: As root it takes this to be bound by permissions.
WITHOUT_PRIVILEGES = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()
SPEC = "models: {m: {url: m.mar, max-workers: 1}}\ndag: {m: []}\n"


def source(answer: str) -> str:
    """Return a handler with this answer."""
    return f"def handle(data, context):\n    return None if data is None else ['{answer}'] * len(data)\n"


@pytest.fixture(name="service")
def _service(tmp_path: Path) -> Iterator[Service]:
    """Run a service with the workflow `w`, whose model answers `first`."""
    with prepared(tmp_path / "instance", prefix=WITHOUT_PRIVILEGES) as service:
        make_war(service.workflow_store, name="w", spec=SPEC, handler=None)
        make_mar(service.model_store, name="m", source=source("first"))
        service.start()
        assert service.register("w.war").status_code == 200
        yield service
    assert "unforeseen error" not in service.text_of_log()


def answer(service: Service, version: str = "") -> str:
    """Return what the workflow answers once it is loaded."""
    response = requests.post(f"{service.inference}/wfpredict/w{version}", data="x", timeout=30)
    return response.text if response.status_code == 200 else f"{response.status_code} {response.text}"


def restart(service: Service) -> None:
    """Stop the service and start it again."""
    assert service.stop() == 0
    service.start()


def kill(service: Service) -> None:
    """Kill all of the service and start it again."""
    service.kill()
    service.start()


def digest_of_model(service: Service) -> str:
    """Return the digest of the model as it was registered."""
    ((digest,),) = rows(service, "SELECT model_sha256 FROM node ORDER BY id LIMIT 1")
    return str(digest)


def store_files(service: Service) -> tuple[str, str]:
    """Return what became of the files that the workflow and its model were registered from, as describe says."""
    (described,) = requests.get(f"{service.management}/workflows/w", timeout=10).json()
    return described["storeFile"], described["nodes"][0]["storeFile"]


@pytest.mark.parametrize(
    ("way", "again"),
    [
        ("rewritten", restart),
        ("renamed", kill),
        pytest.param("rewritten", kill, marks=pytest.mark.slow),
        pytest.param("renamed", restart, marks=pytest.mark.slow),
    ],
)
def test_restart_loads_what_was_registered(service: Service, way: str, again: Callable[[Service], None]) -> None:
    """After the model was overwritten and the workflow's archive removed; the new file is for a new version."""
    new = make_mar(service.instance, name="m", source=source("second")).read_bytes()
    WAYS[way](service.model_store / "m.mar", new)
    war = service.workflow_store / "w.war"
    assert store_files(service) == ("same", "changed")
    war.unlink()
    wait_until(lambda: store_files(service) == ("gone", "changed"), what="the next look at the stores")
    assert answer(service) == "first"
    again(service)
    assert answer(service) == "first"
    counted = requests.get(f"{service.management}/metrics", timeout=10).text
    assert 'wfmgmt_store_files{state="changed",store="model"} 1.0' in counted
    assert 'wfmgmt_store_files{state="gone",store="workflow"} 1.0' in counted
    make_war(service.workflow_store, name="w", spec=SPEC, handler=None)
    assert service.register("w.war", version="2.0").status_code == 200
    assert (answer(service), answer(service, "/2.0")) == ("first", "second")
    (service.model_store / "m.mar").unlink()
    again(service)
    assert (answer(service), answer(service, "/2.0")) == ("first", "second")


def test_tree_that_was_changed_is_made_again_from_what_is_kept(service: Service) -> None:
    """Although the file in the store is gone, and the service may not do everything that root may."""
    digest = digest_of_model(service)
    (service.model_store / "m.mar").unlink()
    assert service.stop() == 0
    tree = kept_entry(service.archives, digest) / "tree"
    (tree / "handler.py").chmod(0o600)
    (tree / "handler.py").write_text(source("evil"))
    service.start()
    assert answer(service) == "first"
    assert "handler.py was changed" in service.text_of_log()
    assert kept_parts(service.archives) == set()


def test_what_earlier_versions_registered_is_kept_at_the_next_start(service: Service) -> None:
    """From the files in the stores, which are still those."""
    assert service.stop() == 0
    digests = kept_digests(service.archives)
    shutil.rmtree(service.archives)
    service.start()
    assert answer(service) == "first"
    (service.model_store / "m.mar").unlink()
    restart(service)
    assert answer(service) == "first"
    # Nothing of the workflow's own archive is run, since it has no functions.
    assert kept_digests(service.archives) == {digest_of_model(service)} < digests


def test_workflows_share_what_is_kept(service: Service) -> None:
    """Each digest is there once, and what a dry run or a refused registration reads is not kept."""
    before = kept_digests(service.archives)
    assert len(before) == 2
    assert service.register("w.war", workflow_name="other").status_code == 200
    assert kept_digests(service.archives) == before
    make_war(service.workflow_store, name="new", spec=SPEC, handler=None, extra_files={"new": "new"})
    assert service.register("new.war", dry_run="true").status_code == 200
    make_mar(service.model_store, name="m", source="raise ValueError('bad weather')\n")
    traces = traces_of(service)
    assert service.register("new.war").status_code == 500
    assert traces_of(service) == traces
    assert kept_digests(service.archives) == before


def test_what_no_version_uses_goes(tmp_path: Path) -> None:
    """Housekeeping removes it once `ARCHIVES_KEEP_S` is over, as one line in the log says."""
    with prepared(tmp_path / "instance", archives_keep_s=0) as service:
        service.start()
        assert service.register("seq.war").status_code == 200
        assert service.register("seq.war", workflow_name="other").status_code == 200
        kept = kept_digests(service.archives)
        assert service.unregister("seq").status_code == 200
        restart(service)
        wait_until(lambda: service.ready_workers("other") == [1, 1, 1], what="the other workflow")
        assert kept_digests(service.archives) == kept
        assert service.unregister("other").status_code == 200
        restart(service)
        wait_until(lambda: not kept_digests(service.archives), what="the end of the archives")
        assert service.text_of_log().count("removed an archive that no version has used") == len(kept)
        assert service.register("seq.war").status_code == 200


def test_only_trees_are_kept_if_set_so(tmp_path: Path) -> None:
    """A restart needs nothing else, unless a tree was changed: then the file in the store has to be the same."""
    with prepared(tmp_path / "instance", keep_archives="unpacked") as service:
        service.start()
        assert service.register("seq.war").status_code == 200
        assert list(service.archives.glob("sha256/*/*/archive")) == []
        for store in (service.workflow_store, service.model_store):
            store.rename(store.with_name(f"{store.name}.gone"))
        restart(service)
        assert service.predicts()
        assert service.stop() == 0
        for store in (service.workflow_store, service.model_store):
            shutil.rmtree(store)
            store.with_name(f"{store.name}.gone").rename(store)
        for tree in service.archives.glob("sha256/*/*/tree"):
            tree.chmod(0o700)
            (tree / "handler.py").unlink()
        service.start()
        assert service.predicts()
