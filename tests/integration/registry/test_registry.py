"""The registry in a real SQLite file."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, event

from tests.support.records import make_event, make_node, make_registry, make_workflow, register
from wfmgmt.domain.status import WorkflowStatus
from wfmgmt.errors import InsufficientStorage, RegistryUnavailable, WorkflowBusy, WorkflowExists
from wfmgmt.registry.registry import Registry


@pytest.fixture(name="registry")
def _registry(tmp_path: Path) -> Iterator[Registry]:
    registry = make_registry(tmp_path)
    yield registry
    registry.close()


def raw(store_folder: Path) -> sqlite3.Connection:
    """Return a connection as another program would open it."""
    return sqlite3.connect(store_folder / "wfmgmt.db", isolation_level=None, timeout=0.1)


def test_page_lists_ready_workflows_by_code_points(registry: Registry) -> None:
    """Upper case sorts before lower case and P3 before p10, as in TorchServe's lists."""
    register(registry, "p10", "P3", "b", "Z")
    with registry.read() as reader:
        page = reader.page(limit=100, offset=0)
    assert [name for name, _ in page.workflows] == ["P3", "Z", "b", "p10"]
    assert not page.more


@pytest.mark.parametrize(
    ("limit", "offset", "names", "more"),
    [(2, 0, ["a", "b"], True), (2, 2, ["c", "d"], False), (2, 4, [], False), (3, 1, ["b", "c", "d"], False)],
    ids=["first", "ends exactly at the end", "past the end", "in the middle"],
)
def test_page_says_whether_more_follow(
    registry: Registry, limit: int, offset: int, names: list[str], *, more: bool
) -> None:
    """A page that ends exactly at the end has no successor."""
    register(registry, "a", "b", "c", "d")
    with registry.read() as reader:
        page = reader.page(limit=limit, offset=offset)
    assert [name for name, _ in page.workflows] == names
    assert page.more is more


def test_page_after_loses_nothing_when_the_last_seen_is_deleted(registry: Registry, tmp_path: Path) -> None:
    """A walk by name goes on behind a name that is gone meanwhile."""
    register(registry, "a", "b", "c", "d")
    with raw(tmp_path) as other:
        other.execute("DELETE FROM workflow WHERE name = 'b'")
    other.close()
    with registry.read() as reader:
        assert [name for name, _ in reader.page_after("b", limit=2).workflows] == ["c", "d"]


def test_unfinished_workflows_are_neither_listed_nor_described(registry: Registry) -> None:
    """Only ready workflows can be seen."""
    with registry.write() as writer:
        writer.claim_name(make_workflow("half"))
    with registry.read() as reader:
        assert reader.page(limit=10, offset=0).workflows == ()
        assert reader.describe("half") is None
        assert reader.status("half") is WorkflowStatus.REGISTERING


def test_claim_name_refuses_a_taken_name(registry: Registry) -> None:
    """One that is registered, and one that is being registered, which is another message."""
    register(registry, "seq")
    with registry.write() as writer:
        writer.claim_name(make_workflow("half"))
    with pytest.raises(WorkflowExists, match="Workflow seq is already registered"), registry.write() as writer:
        writer.claim_name(make_workflow("seq"))
    with pytest.raises(WorkflowBusy, match="Workflow half is being registered right now"), registry.write() as writer:
        writer.claim_name(make_workflow("half"))


def test_claim_name_says_when_the_name_is_being_unregistered(registry: Registry) -> None:
    """A removal under way differs from a registered workflow."""
    register(registry, "seq")
    with registry.write() as writer:
        assert writer.mark_unregistering(writer.uid("seq") or "", "lease")
    with pytest.raises(WorkflowBusy), registry.write() as writer:
        writer.claim_name(make_workflow("seq"))


def test_describe_gives_nodes_in_order_with_their_own_settings(registry: Registry) -> None:
    """What was recorded comes back."""
    register(registry, "seq")
    with registry.read() as reader:
        described = reader.describe("seq")
    assert described is not None
    assert [node.name for node in described.nodes] == ["pre", "m1", "post"]
    assert described.nodes[1].model_url == "m1.mar"
    assert described.dag == "{pre=[m1], m1=[post]}"


def test_deployments_give_the_runtime_what_was_registered(registry: Registry) -> None:
    """Edges and nodes come back in order; workflows that are not ready are left out."""
    register(registry, "seq")
    half = make_workflow("half")
    with registry.write() as writer:
        writer.claim_name(half)
    with registry.read() as reader:
        uid = reader.uid("seq") or ""
        requests = list(reader.load_requests([uid, half.uid, "unknown"]))
    assert [each.workflow for each in requests] == ["seq"]
    assert requests[0].edges == (("pre", "m1"), ("m1", "post"))


def test_remove_deletes_nodes_and_edges_but_no_ready_workflow(registry: Registry, tmp_path: Path) -> None:
    """Only claims can be removed, and nothing of them stays."""
    register(registry, "seq")
    with registry.write() as writer:
        uid = writer.uid("seq") or ""
        assert not writer.remove(uid)
        writer.mark_unregistering(uid, "lease")
        assert writer.remove(uid)
    with raw(tmp_path) as other:
        counts = [other.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("node", "edge")]  # noqa: S608
    other.close()
    assert counts == [0, 0]


def test_take_over_is_won_once(registry: Registry) -> None:
    """Of two who find the same abandoned work, one gets it."""
    new = make_workflow("seq", lease="dead")
    with registry.write() as writer:
        writer.claim_name(new)
        assert writer.take_over(new.uid, old_lease="dead", new_lease="first")
        assert not writer.take_over(new.uid, old_lease="dead", new_lease="second")


def test_is_file_used_leaves_out_the_one_that_asks(registry: Registry) -> None:
    """A downloaded file that two workflows run from must outlive the first of them."""
    one, two = make_workflow("one", archive_file="x.war"), make_workflow("two", archive_file="x.war")
    with registry.write() as writer:
        writer.claim_name(one)
        assert not writer.is_file_used("workflow", "x.war", except_uid=one.uid)
        writer.claim_name(two)
        assert writer.is_file_used("workflow", "x.war", except_uid=one.uid)
        assert writer.is_file_used("model", "m1.mar", except_uid=one.uid)
        assert not writer.is_file_used("model", "m2.mar")


def test_is_file_used_leaves_out_what_is_being_unregistered(registry: Registry) -> None:
    """Two removed at the same time, whose downloads got one name in turn, must not leave the file to each other."""
    one, two = make_workflow("one", archive_file="x.war"), make_workflow("two", archive_file="x.war")
    with registry.write() as writer:
        for new in (one, two):
            writer.claim_name(new)
            writer.mark_ready(new.uid)
        assert writer.is_file_used("workflow", "x.war", except_uid=two.uid)
        writer.mark_unregistering(one.uid, "lease")
        assert not writer.is_file_used("workflow", "x.war", except_uid=two.uid)
        assert not writer.is_file_used("model", "m1.mar", except_uid=two.uid)
        assert writer.is_file_used("workflow", "x.war", except_uid=one.uid)


def test_claim_lists_downloads(registry: Registry) -> None:
    """Undoing a registration returns the files that it downloaded."""
    new = make_workflow("seq", archive_downloaded=True, nodes=(make_node("m1", model_downloaded=True),), edges=())
    with registry.write() as writer:
        writer.claim_name(new)
        claim = writer.claim(new.uid)
    assert claim is not None
    assert claim.downloads == (("workflow", "seq.war"), ("model", "m1.mar"))


def test_read_refuses_to_write(registry: Registry) -> None:
    """The database itself keeps readers from changing anything."""
    register(registry, "seq")
    with pytest.raises(RegistryUnavailable, match="read-only"), registry.read() as reader:
        reader._connection.exec_driver_sql("DELETE FROM workflow")  # noqa: SLF001 - what no public way offers


def test_write_rolls_everything_back_when_the_block_raises(registry: Registry) -> None:
    """Neither the change nor its audit event stays."""
    with pytest.raises(ZeroDivisionError), registry.write() as writer:
        writer.claim_name(make_workflow("seq"))
        writer.record(make_event())
        raise ZeroDivisionError
    with registry.read() as reader:
        assert reader.status("seq") is None
    assert registry.verify_audit().events == 0


def test_write_waits_for_the_lock_and_reads_go_on(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process that holds the write lock delays writers, then they fail clearly; readers never wait."""
    monkeypatch.setattr("wfmgmt.registry.engine._PRAGMAS", {"busy_timeout": 200})
    other_store = Registry(f"sqlite:///{tmp_path / 'wfmgmt.db'}")
    other = raw(tmp_path)
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(RegistryUnavailable, match="locked"), other_store.write() as writer:
            writer.record(make_event())
        with other_store.read() as reader:
            assert reader.page(limit=1, offset=0).workflows == ()
    finally:
        other.execute("ROLLBACK")
        other.close()
        other_store.close()


def test_concurrent_writers_all_succeed(registry: Registry) -> None:
    """Writers queue for the lock instead of failing half way."""
    failures: list[BaseException] = []

    def write(number: int) -> None:
        try:
            for step in range(10):
                register(registry, f"w{number}-{step}")
        except BaseException as error:  # noqa: BLE001 - a thread has nobody to raise to
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert registry.verify_audit().events == 80
    with registry.read() as reader:
        assert len(reader.page(limit=100, offset=0).workflows) == 80


@contextmanager
def at_each(moment: str, do: Callable[[Connection], object]) -> Iterator[None]:
    """Call a function at the `begin` or the `commit` of each transaction, with its connection."""
    event.listen(Engine, moment, do)
    try:
        yield
    finally:
        event.remove(Engine, moment, do)


def pragma(connection: Connection, statement: str) -> object:
    """Carry out a PRAGMA; return the first value of what it says."""
    return connection.exec_driver_sql(f"PRAGMA {statement}").scalar()


def pragmas(registry: Registry, *names: str, is_durable: bool = True) -> list[object]:
    """Return the values of PRAGMAs in a transaction that writes."""
    found: list[object] = []

    def look(connection: Connection) -> None:
        found.extend(pragma(connection, name) for name in names)

    with at_each("commit", look), registry.write(is_durable=is_durable):
        pass
    return found


def allow_no_more_pages(connection: Connection) -> None:
    """Bound the database to the size that it has."""
    pragma(connection, f"max_page_count = {pragma(connection, 'page_count')}")


def test_full_database_is_insufficient_storage(registry: Registry, tmp_path: Path) -> None:
    """SQLite's own word for a full disk becomes ours, and nothing of the write stays."""
    register(registry, "seq")
    with at_each("begin", allow_no_more_pages), pytest.raises(InsufficientStorage), registry.write() as writer:
        writer.claim_name(make_workflow("big", spec="x" * 1_000_000))
    with registry.read() as reader:
        assert reader.status("big") is None


@pytest.mark.parametrize(
    "name",
    ["foreign_keys", "journal_mode", "synchronous", "busy_timeout", "wal_autocheckpoint"],
)
def test_connections_have_their_pragmas(registry: Registry, name: str) -> None:
    """Durability and integrity do not depend on SQLite's defaults."""
    expected = {
        "foreign_keys": 1,
        "journal_mode": "wal",
        "synchronous": 2,
        "busy_timeout": 5000,
        "wal_autocheckpoint": 0,
    }
    assert pragmas(registry, name) == [expected[name]]


def test_write_that_need_not_be_durable_does_not_wait_for_the_disk(registry: Registry) -> None:
    """All else stays as it is, and so do the other transactions."""
    names = ("synchronous", "journal_mode", "wal_autocheckpoint", "foreign_keys")
    assert pragmas(registry, *names, is_durable=False) == [1, "wal", 0, 1]
    assert pragmas(registry, *names) == [2, "wal", 0, 1]


def test_whatever_is_left_of_the_log_is_a_prefix_of_the_commits(registry: Registry, tmp_path: Path) -> None:
    """So a commit that waited for the disk, and with it for the log before it, cannot lose one that did not."""
    written = []
    for number in range(12):
        with registry.write(is_durable=number % 3 == 2) as writer:
            writer.claim_name(make_workflow(f"w{number:02}"))
        written.append(f"w{number:02}")
    log = (tmp_path / "wfmgmt.db-wal").read_bytes()
    database = (tmp_path / "wfmgmt.db").read_bytes()
    counts = set()
    for number, length in enumerate((*range(0, len(log), 4096 // 2), len(log))):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "wfmgmt.db").write_bytes(database)
        # A power cut leaves what was not synced missing, or filled with zeros.
        (folder / "wfmgmt.db-wal").write_bytes(log[:length] + bytes(len(log) - length) * (number % 2))
        with closing(raw(folder)) as left:
            names = [name for (name,) in left.execute("SELECT name FROM workflow ORDER BY name")]
        assert names == written[: len(names)]
        counts.add(len(names))
    assert counts == set(range(13))


def test_checkpoint_moves_the_log_into_the_database(registry: Registry, tmp_path: Path) -> None:
    """After a checkpoint the database file holds what was written."""
    register(registry, "seq")
    before = (tmp_path / "wfmgmt.db").stat().st_size
    register(registry, *(f"w{number}" for number in range(50)))
    assert (tmp_path / "wfmgmt.db").stat().st_size == before
    registry.checkpoint()
    assert (tmp_path / "wfmgmt.db").stat().st_size > before
