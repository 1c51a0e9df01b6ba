"""Values for tests of the registry, each with sensible defaults that a test overrides."""

import tempfile
import uuid
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, func, insert, select, update

from wfmgmt.domain.audit import AuditAction, AuditEvent, AuditOutcome, Origin
from wfmgmt.domain.workflow import LoadRequest, Node, NodeKind, NodeSettings
from wfmgmt.registry import tables
from wfmgmt.registry.records import NewWorkflow
from wfmgmt.registry.registry import Registry
from wfmgmt.registry.schema import upgrade

SHA = "a" * 64
MOMENT = "2026-01-31T12:00:00.000000Z"


@cache
def _migrated() -> bytes:
    """Return the content of a new database with the current schema, for which all migrations were run once."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "wfmgmt.db")
        upgrade(path)
        return path.read_bytes()


def make_database(path: Path) -> None:
    """Write a new SQLite file with the current schema, as private as a service makes it."""
    path.touch(mode=0o600, exist_ok=False)
    path.write_bytes(_migrated())


def make_registry(folder: Path) -> Registry:
    """Return a registry over a new SQLite file with the current schema."""
    path = folder / "wfmgmt.db"
    make_database(path)
    return Registry(f"sqlite:///{path}")


def make_node(name: str = "m1", **overrides: Any) -> Node:
    """Return a model node."""
    values: dict[str, Any] = {
        "name": name,
        "kind": NodeKind.MODEL,
        "model_url": f"{name}.mar",
        "model_file": f"{name}.mar",
        "model_downloaded": False,
        "model_sha256": SHA,
        "settings": NodeSettings(),
        "threads": 2,
    }
    return Node(**{**values, **overrides})


def make_function(name: str) -> Node:
    """Return a function node."""
    return make_node(name, kind=NodeKind.FUNCTION, model_url=None, model_file=None, model_sha256=None)


def make_workflow(name: str = "seq", **overrides: Any) -> NewWorkflow:
    """Return a sequential workflow of three nodes."""
    target: dict[str, Any] = {
        "uid": uuid.uuid4().hex,
        "workflow": name,
        "version": "1.0",
        "archive_file": f"{name}.war",
        "archive_sha256": SHA,
        "handler": "handler.py",
        "response_timeout_s": 120,
        "startup_timeout_s": 120,
        "nodes": (make_function("pre"), make_node("m1"), make_function("post")),
        "edges": (("pre", "m1"), ("m1", "post")),
    }
    target |= {key: overrides.pop(key) for key in target.keys() & overrides.keys()}
    values: dict[str, Any] = {
        "url": f"{name}.war",
        "archive_downloaded": False,
        "spec": "dag: {}\n",
        "dag": "{pre=[m1], m1=[post]}",
        "lease": "lease",
        "defaults": NodeSettings(),
    }
    return NewWorkflow(target=LoadRequest(**target), **{**values, **overrides})


def make_event(workflow: str = "seq", **overrides: Any) -> AuditEvent:
    """Return the event of a registration that succeeded."""
    values: dict[str, Any] = {
        "origin": Origin(actor="anonymous", address="127.0.0.1", request_id="r1"),
        "action": AuditAction.REGISTER,
        "workflow": workflow,
        "outcome": AuditOutcome.SUCCEEDED,
        "detail": {"archive_sha256": SHA},
    }
    return AuditEvent(**{**values, **overrides})


def register(registry: Registry, *names: str) -> None:
    """Record ready workflows."""
    for name in names:
        new = make_workflow(name)
        with registry.write() as writer:
            writer.claim_name(new)
            writer.mark_ready(new.uid)
            writer.record(make_event(name))


def fill(database_url: str, count: int, *, status: str = "ready") -> None:
    """Record workflows of three nodes in one go, `bulk000000` and so on, whose archives do not exist.

    The tables have to be empty.
    """
    settings = asdict(NodeSettings())
    numbered: list[dict[str, Any]] = [
        {"id": number, "uid": uuid.uuid4().hex, "name": f"bulk{number - 1:06}"} for number in range(1, count + 1)
    ]
    is_ready = status == "ready"
    times = {"created_at": MOMENT, "updated_at": MOMENT}
    pointer = {"revision": int(is_ready), "change": 0, **times}
    released = {"number": 1, "at": MOMENT, "actor": "anonymous", "reason": "", "kind": "register", "policy": "{}"}
    shared = {"archive_downloaded": 0, "archive_sha256": SHA, "handler": "handler.py", "spec": "dag: {}\n"}
    shared |= {"dag": "{pre=[m1], m1=[post]}", "status": status, "response_timeout_s": 120, "startup_timeout_s": 120}
    shared |= {"lease": None if is_ready else "lease", "version": "1.0", "registered_at": MOMENT, **times, **settings}
    function: dict[str, Any] = {"kind": "function", "model_url": None, "model_file": None, "model_sha256": None}
    model = {"kind": "model", "model_url": "absent.mar", "model_file": "absent.mar", "model_sha256": SHA}
    kinds: list[tuple[str, dict[str, Any]]] = [("pre", function), ("m1", model), ("post", function)]
    nodes = [
        {"id": 3 * each["id"] + position, "version_id": each["id"], "position": position, "name": name, **kind}
        for each in numbered
        for position, (name, kind) in enumerate(kinds)
    ]
    edges = [
        {"version_id": id_, "source_id": 3 * id_ + position, "target_id": 3 * id_ + position + 1, "position": position}
        for id_ in range(1, count + 1)
        for position in range(2)
    ]
    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(insert(tables.workflow), [{**pointer, **each} for each in numbered])
        connection.execute(
            insert(tables.workflow_version),
            [
                {**shared, "id": each["id"], "uid": each["uid"], "workflow_id": each["id"]}
                | {"url": f"{each['name']}.war", "archive_file": f"{each['name']}.war"}
                for each in numbered
            ],
        )
        connection.execute(insert(tables.node), [{"model_downloaded": 0, **settings, **each} for each in nodes])
        connection.execute(insert(tables.edge), edges)
        if is_ready:
            _release(connection, [{**released, **each} for each in numbered])
    engine.dispose()


def add_versions(database_url: str, versions: int) -> None:
    """Give each workflow of `fill` so many versions in all; the first one keeps all requests."""
    engine = create_engine(database_url)
    with engine.begin() as connection:
        count = connection.execute(select(func.count()).select_from(tables.workflow)).scalar_one()
        for number in range(1, versions):
            ids = {"id": number * count, "version_id": number * count}
            nodes = dict.fromkeys(("source_id", "target_id"), 3 * number * count)
            names = {"uid": f"uid || '-{number}'", "version": f"'{number + 1}.0'"}
            for table, moved in (
                (tables.workflow_version, ids),
                (tables.node, {**ids, "id": 3 * number * count}),
                (tables.edge, {**ids, **nodes, "id": 2 * number * count}),
            ):
                columns = list(table.columns.keys())
                values = [
                    f"{column} + {moved[column]}" if column in moved else names.get(column, column)
                    for column in columns
                ]
                first = {"workflow_version": "id"}.get(table.name, "version_id")
                connection.exec_driver_sql(
                    f"INSERT INTO {table.name} ({', '.join(columns)}) SELECT {', '.join(values)} FROM {table.name} "  # noqa: S608 - constants
                    f"WHERE {first} <= {count}"
                )
    engine.dispose()


def _release(connection: Connection, rows: list[dict[str, Any]]) -> None:
    """Give each of these workflows all of its requests' share to its only version."""
    connection.execute(
        insert(tables.release),
        [
            {key: value for key, value in each.items() if key not in ("uid", "name")}
            | {"workflow_uid": each["uid"], "workflow": each["name"]}
            for each in rows
        ],
    )
    # Routes are added to the newest release only, and here come all releases first.
    trigger = "release_route_refuses_replace"
    sql = connection.exec_driver_sql("SELECT sql FROM sqlite_schema WHERE name = ?", (trigger,)).scalar_one()
    connection.exec_driver_sql(f"DROP TRIGGER {trigger}")
    connection.execute(
        insert(tables.release_route),
        [
            {"id": each["id"], "release_id": each["id"], "version_uid": each["uid"]}
            | {"version": "1.0", "kind": "serve", "weight": 100}
            for each in rows
        ],
    )
    connection.exec_driver_sql(sql)
    number = tables.workflow.c.id
    connection.execute(update(tables.workflow).values(release_id=number, default_version_id=number))
