"""Give workflows versions and releases: what was a workflow becomes its version 1.0, served by its release 1.

The numbers by which followers find changes were called revisions; a revision is now the count of one workflow's
changes.

Revision ID: 0008
Revises: 0007
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.schema import SchemaItem

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

by_code_point = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

SETTINGS = ("min_workers", "max_workers", "batch_size", "max_batch_delay_ms", "retry_attempts", "timeout_ms")
#: Columns that a registration has besides its number, its name and what is counted.
REGISTRATION = (
    *(
        "uid",
        "url",
        "archive_file",
        "archive_downloaded",
        "archive_sha256",
        "handler",
        "spec",
        "dag",
        "status",
        "lease",
    ),
    *SETTINGS,
    *("response_timeout_s", "startup_timeout_s", "created_at", "registered_at", "updated_at"),
)
NODE = ("position", "name", "kind", "model_url", "model_file", "model_downloaded", "model_sha256", *SETTINGS)
EDGE = ("source_id", "target_id", "position")
AUDIT = (
    "id",
    "at",
    "actor",
    "address",
    "request_id",
    "action",
    "workflow",
    "outcome",
    "detail",
    "previous_hash",
    "hash",
)

V_WORKFLOW = """
CREATE VIEW v_workflow AS
SELECT
    workflow.name,
    {registration}.status,
    {registration}.url,
    {registration}.archive_sha256,
    {registration}.dag,
    (SELECT count(*) FROM node WHERE node.{owner} = {registration}.id AND node.kind = 'model') AS models,
    (SELECT count(*) FROM node WHERE node.{owner} = {registration}.id AND node.kind = 'function') AS functions,
    (SELECT sum(node.min_workers) FROM node WHERE node.{owner} = {registration}.id AND node.kind = 'model')
        AS min_model_workers,
    (SELECT sum(node.max_workers) FROM node WHERE node.{owner} = {registration}.id AND node.kind = 'model')
        AS max_model_workers,
    {registration}.response_timeout_s,
    {registration}.startup_timeout_s,
    {registration}.created_at,
    {registration}.registered_at,
    {registration}.updated_at
FROM workflow
"""

JOIN_SHOWN_VERSION = """
JOIN workflow_version ON workflow_version.id = coalesce(
    workflow.default_version_id,
    (SELECT max(newest.id) FROM workflow_version AS newest WHERE newest.workflow_id = workflow.id)
)
"""

V_VERSION = """
CREATE VIEW v_version AS
SELECT
    workflow.name AS workflow,
    workflow_version.version,
    CASE WHEN workflow.default_version_id = workflow_version.id THEN 1 ELSE 0 END AS is_default,
    workflow_version.status,
    workflow_version.url,
    workflow_version.archive_sha256,
    workflow_version.dag,
    workflow_version.created_at,
    workflow_version.registered_at
FROM workflow_version JOIN workflow ON workflow.id = workflow_version.workflow_id
"""

V_RELEASE = """
CREATE VIEW v_release AS
SELECT
    release.workflow,
    release.number,
    release.at,
    release.actor,
    release.kind,
    release.reason,
    release.previous,
    (SELECT {concatenated} FROM release_route
        WHERE release_route.release_id = release.id AND release_route.kind = 'serve') AS routes,
    (SELECT release_route.version || '=' || release_route.weight FROM release_route
        WHERE release_route.release_id = release.id AND release_route.kind = 'mirror') AS mirror,
    release.policy,
    CASE WHEN EXISTS (SELECT 1 FROM workflow WHERE workflow.release_id = release.id) THEN 1 ELSE 0 END AS is_current,
    release.workflow_uid
FROM release
"""
CONCATENATED = {
    "sqlite": "group_concat(release_route.version || '=' || release_route.weight, ' ')",
    "postgresql": "string_agg(release_route.version || '=' || release_route.weight, ' ' ORDER BY release_route.id)",
}

V_SERVING_HISTORY = """
CREATE VIEW v_serving_history AS
SELECT
    release.workflow,
    release_route.version,
    release_route.weight,
    release.at AS from_at,
    (SELECT next.at FROM release AS next
        WHERE next.workflow_uid = release.workflow_uid AND next.number = release.number + 1) AS to_at,
    release.actor,
    release.reason,
    release_route.kind,
    release.number AS release
FROM release_route JOIN release ON release.id = release_route.release_id
"""

SQLITE_TRIGGER = """
CREATE TRIGGER {table}_refuses_{operation} BEFORE {operation} ON {table}
BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END
"""
# INSERT OR REPLACE removes rows without firing a delete trigger, so rows may only be added at the end.
SQLITE_INSERT_TRIGGER = """
CREATE TRIGGER {table}_refuses_replace BEFORE INSERT ON {table}
WHEN {is_behind}
BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END
"""
IS_BEHIND = {
    "audit_event": (
        "EXISTS (SELECT 1 FROM audit_event WHERE id >= NEW.id OR hash = NEW.hash OR previous_hash = NEW.previous_hash)"
    ),
    "release": (
        "EXISTS (SELECT 1 FROM release WHERE id = NEW.id OR (workflow_uid = NEW.workflow_uid AND number >= NEW.number))"
    ),
    "release_route": (
        "NEW.release_id < (SELECT max(id) FROM release) OR EXISTS (SELECT 1 FROM release_route "
        "WHERE id = NEW.id OR (release_id = NEW.release_id AND kind = NEW.kind AND version = NEW.version))"
    ),
}
POSTGRESQL_FUNCTION = """
CREATE FUNCTION {table}_refuses_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION '{table} is append-only'; END $$
"""
POSTGRESQL_TRIGGER = """
CREATE TRIGGER {table}_refuses_change BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}
FOR EACH STATEMENT EXECUTE FUNCTION {table}_refuses_change()
"""


def upgrade() -> None:
    """Move each workflow's registration into its version 1.0, and release that."""
    op.execute("DROP VIEW v_workflow")
    _save("workflow", "node", "edge", "revision_counter", "removal")
    _create_workflow()
    _create_registration("workflow_version", with_version=True)
    _create_graph(owner="version_id", of="workflow_version")
    _create_override()
    _create_releases()
    _create_idempotency_key()
    _create_counter("change_counter")
    _create_removal("change")
    _fill()
    _drop_saved("workflow", "node", "edge", "revision_counter", "removal")
    if _dialect() == "postgresql":
        op.create_foreign_key(
            op.f("fk_workflow_default_version_id_workflow_version"),
            *("workflow", "workflow_version", ["default_version_id"], ["id"]),
        )
        for table in ("workflow", "workflow_version", "node", "edge", "release", "release_route"):
            _restart_sequence(table)
    _widen_actions()
    _append_only("release")
    _append_only("release_route")
    op.execute(V_WORKFLOW.format(registration="workflow_version", owner="version_id") + JOIN_SHOWN_VERSION)
    op.execute(V_VERSION)
    op.execute(V_RELEASE.format(concatenated=CONCATENATED[_dialect()]))
    op.execute(V_SERVING_HISTORY)


def downgrade() -> None:
    """Keep the default version of each workflow, or its newest when it has none; others are lost, and releases."""
    for view in ("v_serving_history", "v_release", "v_version", "v_workflow"):
        op.execute(f"DROP VIEW {view}")
    if _dialect() == "postgresql":
        op.drop_constraint(op.f("fk_workflow_default_version_id_workflow_version"), "workflow")
    op.drop_table("idempotency_key")
    op.drop_table("node_override")
    op.drop_table("release_route")
    _save("workflow", "node", "edge", "workflow_version", "change_counter", "removal")
    op.drop_table("release")
    if _dialect() == "postgresql":
        op.execute("DROP FUNCTION release_refuses_change")
        op.execute("DROP FUNCTION release_route_refuses_change")
    _create_registration("workflow", with_version=False)
    _create_graph(owner="workflow_id", of="workflow")
    _create_counter("revision_counter")
    _create_removal("revision")
    _fill_back()
    _drop_saved("workflow", "node", "edge", "workflow_version", "change_counter", "removal")
    if _dialect() == "postgresql":
        for table in ("workflow", "node", "edge"):
            _restart_sequence(table)
    op.drop_column("audit_event", "scheme")
    op.execute(V_WORKFLOW.format(registration="workflow", owner="workflow_id"))


def _dialect() -> str:
    return op.get_bind().dialect.name


def _save(*tables: str) -> None:
    """Set the rows of tables aside and drop these, children first; SQLite changes no table in place."""
    for table in tables:
        op.execute(f"CREATE TABLE saved_{table} AS SELECT * FROM {table}")  # noqa: S608 - constants
    children = [table for table in ("edge", "node", "workflow_version") if table in tables]
    for table in (*children, *(table for table in tables if table not in children)):
        op.drop_table(table)


def _drop_saved(*tables: str) -> None:
    for table in tables:
        op.drop_table(f"saved_{table}")


def _copy(target: str, columns: Sequence[str], source: str) -> None:
    """Copy rows, whose source may have other names for the columns: `new=old`."""
    names = [column.split("=")[0] for column in columns]
    values = [column.split("=", 1)[-1] for column in columns]
    op.execute(f"INSERT INTO {target} ({', '.join(names)}) SELECT {', '.join(values)} FROM {source}")  # noqa: S608 - constants


def _fill() -> None:
    _copy(
        "workflow",
        [
            *("id", "uid", "name", "created_at", "updated_at", "change=revision"),
            "revision=CASE WHEN registered_at IS NULL THEN 0 ELSE 1 END",
        ],
        "saved_workflow ORDER BY id",
    )
    _copy("workflow_version", ["id", "workflow_id=id", "version='1.0'", *REGISTRATION], "saved_workflow ORDER BY id")
    _copy("node", ["id", "version_id=workflow_id", *NODE], "saved_node ORDER BY id")
    _copy("edge", ["id", "version_id=workflow_id", *EDGE], "saved_edge ORDER BY id")
    _copy("change_counter", ["id", "last"], "saved_revision_counter")
    _copy("removal", ["change=revision", "uid"], "saved_removal")
    actor = (
        "coalesce((SELECT actor FROM audit_event WHERE audit_event.workflow = saved_workflow.name "
        "AND action = 'register' AND outcome = 'succeeded' ORDER BY id DESC LIMIT 1), 'anonymous')"
    )
    _copy(
        "release",
        [
            *("id", "workflow_uid=uid", "workflow=name", "number=1", "at=registered_at", f"actor={actor}"),
            *("reason=''", "kind='register'", "policy='{}'"),
        ],
        "saved_workflow WHERE registered_at IS NOT NULL ORDER BY id",
    )
    _copy(
        "release_route",
        ["id", "release_id=id", "version_uid=uid", "version='1.0'", "kind='serve'", "weight=100"],
        "saved_workflow WHERE registered_at IS NOT NULL ORDER BY id",
    )
    op.execute("UPDATE workflow SET release_id = id WHERE revision = 1")
    op.execute(
        "UPDATE workflow SET default_version_id = id "
        "WHERE id IN (SELECT workflow_id FROM workflow_version WHERE status = 'ready')"
    )


def _fill_back() -> None:
    kept = (
        "saved_workflow JOIN saved_workflow_version AS version ON version.id = coalesce("
        "saved_workflow.default_version_id, "
        "(SELECT max(id) FROM saved_workflow_version AS newest WHERE newest.workflow_id = saved_workflow.id))"
    )
    _copy(
        "workflow",
        ["id=saved_workflow.id", "name=saved_workflow.name", "revision=saved_workflow.change"]
        + [f"{column}=version.{column}" for column in REGISTRATION],
        f"{kept} ORDER BY saved_workflow.id",
    )
    for table, columns in (("node", NODE), ("edge", EDGE)):
        _copy(
            table,
            [f"id=saved_{table}.id", "workflow_id=saved_workflow.id"]
            + [f"{column}=saved_{table}.{column}" for column in columns],
            f"{kept} JOIN saved_{table} ON saved_{table}.version_id = version.id ORDER BY saved_{table}.id",
        )
    _copy("revision_counter", ["id", "last"], "saved_change_counter")
    _copy("removal", ["revision=change", "uid"], "saved_removal")


def _restart_sequence(table: str) -> None:
    op.execute(
        f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT max(id) FROM {table})) "  # noqa: S608 - constants
        f"FROM {table} HAVING count(*) > 0"
    )


def _integers(*names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, sa.Integer(), nullable=False) for name in names]


def _texts(*names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, sa.Text(), nullable=False) for name in names]


def _check(table: str, name: str, condition: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(condition, name=op.f(f"ck_{table}_{name}"))


def _worker_checks(table: str) -> list[sa.CheckConstraint]:
    return [
        _check(table, "workers", "min_workers >= 0 AND max_workers >= 1 AND max_workers >= min_workers"),
        _check(table, "batch", "batch_size >= 1 AND max_batch_delay_ms >= 0"),
        _check(table, "tries", "retry_attempts >= 0 AND timeout_ms >= 1"),
    ]


def _create(table: str, *parts: SchemaItem) -> None:
    op.create_table(table, *parts, sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")), sqlite_strict=True)


def _unique(table: str, *columns: str) -> sa.UniqueConstraint:
    return sa.UniqueConstraint(*columns, name=op.f(f"uq_{table}_{'_'.join(columns)}"))


def _child_of(table: str, parent: str, column: str, *, cascades: bool = True) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        [column],
        [f"{parent}.id"],
        name=op.f(f"fk_{table}_{column}_{parent}"),
        ondelete="CASCADE" if cascades else None,
    )


def _index(table: str, *columns: str) -> None:
    op.create_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table, columns)


def _create_workflow() -> None:
    # PostgreSQL gets the second of two references that form a circle once both tables are there.
    circle = [_child_of("workflow", "workflow_version", "default_version_id", cascades=False)]
    _create_release_table()
    _create(
        "workflow",
        *_integers("id"),
        *_texts("uid"),
        sa.Column("name", by_code_point, nullable=False),
        *_integers("revision", "change"),
        sa.Column("release_id", sa.Integer()),
        sa.Column("default_version_id", sa.Integer()),
        *_texts("created_at", "updated_at"),
        _check("workflow", "revision", "revision >= 0"),
        _child_of("workflow", "release", "release_id", cascades=False),
        *(circle if _dialect() == "sqlite" else ()),
        _unique("workflow", "name"),
        _unique("workflow", "uid"),
    )
    _index("workflow", "name", "default_version_id")
    _index("workflow", "change")


def _create_registration(table: str, *, with_version: bool) -> None:
    """Create the table of registrations: `workflow` before, `workflow_version` now."""
    own = (
        [
            *_integers("workflow_id"),
            *_texts("version"),
            _check(table, "version", "length(version) BETWEEN 1 AND 64"),
            _child_of(table, "workflow", "workflow_id"),
            _unique(table, "workflow_id", "version"),
        ]
        if with_version
        else [
            sa.Column("name", by_code_point, nullable=False),
            sa.Column("revision", sa.Integer(), server_default=sa.text("0"), nullable=False),
            _unique(table, "name"),
        ]
    )
    _create(
        table,
        *_integers("id"),
        *_texts("uid", "url", "archive_file"),
        *_integers("archive_downloaded"),
        *_texts("archive_sha256"),
        sa.Column("handler", sa.Text()),
        *_texts("spec", "dag", "status"),
        sa.Column("lease", sa.Text()),
        *_integers(*SETTINGS, "response_timeout_s", "startup_timeout_s"),
        *_texts("created_at"),
        sa.Column("registered_at", sa.Text()),
        *_texts("updated_at"),
        *own,
        *_worker_checks(table),
        _check(table, "status", "status IN ('registering', 'ready', 'unregistering')"),
        _check(table, "archive_downloaded", "archive_downloaded IN (0, 1)"),
        _check(table, "archive_sha256", "length(archive_sha256) = 64"),
        _check(table, "lease", "(status = 'ready') = (lease IS NULL)"),
        _check(table, "timeouts", "response_timeout_s >= 1 AND startup_timeout_s >= 1"),
        _unique(table, "uid"),
    )
    if with_version:
        _index(table, "status")
        _index(table, "archive_file")
    else:
        _index(table, "status", "name", "url")
        _index(table, "revision")


def _create_graph(*, owner: str, of: str) -> None:
    _create(
        "node",
        *_integers("id", owner, "position"),
        *_texts("name", "kind"),
        sa.Column("model_url", sa.Text()),
        sa.Column("model_file", sa.Text()),
        *_integers("model_downloaded"),
        sa.Column("model_sha256", sa.Text()),
        *_integers(*SETTINGS),
        *_worker_checks("node"),
        _check("node", "kind", "kind IN ('model', 'function')"),
        _check("node", "model_downloaded", "model_downloaded IN (0, 1)"),
        _check(
            "node",
            "model",
            "(kind = 'model') = (model_url IS NOT NULL AND model_file IS NOT NULL AND model_sha256 IS NOT NULL)",
        ),
        _child_of("node", of, owner),
        _unique("node", owner, "name"),
        _unique("node", owner, "position"),
    )
    _create(
        "edge",
        *_integers("id", owner, "source_id", "target_id", "position"),
        _check("edge", "self_loop", "source_id <> target_id"),
        _child_of("edge", "node", "source_id"),
        _child_of("edge", "node", "target_id"),
        _child_of("edge", of, owner),
        _unique("edge", "source_id", "target_id"),
        _unique("edge", owner, "position"),
    )
    _index("edge", "target_id")


def _create_override() -> None:
    op.create_table(
        "node_override",
        *_integers("node_id"),
        *_texts("setting"),
        *_integers("value"),
        *_texts("at", "actor"),
        _check("node_override", "setting", "setting IN ({})".format(", ".join(f"'{each}'" for each in SETTINGS))),
        _child_of("node_override", "node", "node_id"),
        sa.PrimaryKeyConstraint("node_id", "setting", name=op.f("pk_node_override")),
        sqlite_strict=True,
    )


def _create_release_table() -> None:
    _create(
        "release",
        *_integers("id"),
        *_texts("workflow_uid"),
        sa.Column("workflow", by_code_point, nullable=False),
        *_integers("number"),
        *_texts("at", "actor", "reason", "kind"),
        sa.Column("previous", sa.Integer()),
        *_texts("policy"),
        _check("release", "number", "number >= 1 AND previous < number"),
        _check("release", "kind", "length(kind) BETWEEN 1 AND 40 AND kind = lower(kind)"),
        _unique("release", "workflow_uid", "number"),
    )
    _index("release", "workflow")


def _create_releases() -> None:
    _create(
        "release_route",
        *_integers("id", "release_id"),
        *_texts("version_uid", "version", "kind"),
        *_integers("weight"),
        _check("release_route", "kind", "kind IN ('serve', 'mirror')"),
        _check("release_route", "weight", "weight BETWEEN 1 AND 100"),
        _child_of("release_route", "release", "release_id", cascades=False),
        _unique("release_route", "release_id", "kind", "version"),
    )


def _create_idempotency_key() -> None:
    op.create_table(
        "idempotency_key",
        *_texts("scope", "key", "request_sha256"),
        sa.Column("lease", sa.Text()),
        sa.Column("status", sa.Integer()),
        sa.Column("headers", sa.Text()),
        sa.Column("body", sa.Text()),
        *_texts("at"),
        _check("idempotency_key", "request_sha256", "length(request_sha256) = 64"),
        _check("idempotency_key", "lease", "(status IS NULL) = (lease IS NOT NULL)"),
        sa.PrimaryKeyConstraint("scope", "key", name=op.f("pk_idempotency_key")),
        sqlite_strict=True,
    )
    _index("idempotency_key", "at")


def _create_counter(table: str) -> None:
    _create(table, *_integers("id", "last"), _check(table, "only_row", "id = 1"))


def _create_removal(number: str) -> None:
    op.create_table(
        "removal",
        sa.Column(number, sa.Integer(), autoincrement=False, nullable=False),
        *_texts("uid"),
        sa.PrimaryKeyConstraint(number, name=op.f("pk_removal")),
        sqlite_strict=True,
    )


def _append_only(table: str) -> None:
    if _dialect() == "sqlite":
        for operation in ("update", "delete"):
            op.execute(SQLITE_TRIGGER.format(table=table, operation=operation))
        op.execute(SQLITE_INSERT_TRIGGER.format(table=table, is_behind=IS_BEHIND[table]))
    else:
        op.execute(POSTGRESQL_FUNCTION.format(table=table))
        op.execute(POSTGRESQL_TRIGGER.format(table=table))


def _widen_actions() -> None:
    """Let the audit trail have more actions, and name the recipe of its hashes; no hashed column changes."""
    condition = "length(action) BETWEEN 1 AND 40 AND action = lower(action)"
    scheme = sa.Column("scheme", sa.Integer(), server_default=sa.text("1"), nullable=False)
    if _dialect() == "postgresql":
        op.add_column("audit_event", scheme)
        op.drop_constraint(op.f("ck_audit_event_action"), "audit_event")
        op.create_check_constraint(op.f("ck_audit_event_action"), "audit_event", condition)
        return
    op.execute("DROP VIEW v_audit")
    _save("audit_event")
    _create(
        "audit_event",
        *_integers("id"),
        *_texts("at", "actor", "address", "request_id", "action"),
        sa.Column("workflow", by_code_point, nullable=False),
        *_texts("outcome", "detail", "previous_hash", "hash"),
        scheme,
        _check("audit_event", "action", condition),
        _check("audit_event", "outcome", "outcome IN ('succeeded', 'failed')"),
        _check("audit_event", "hash", "length(previous_hash) = 64 AND length(hash) = 64"),
        _unique("audit_event", "hash"),
        _unique("audit_event", "previous_hash"),
    )
    _index("audit_event", "request_id")
    _index("audit_event", "workflow")
    _copy("audit_event", AUDIT, "saved_audit_event ORDER BY id")
    _drop_saved("audit_event")
    _append_only("audit_event")
    op.execute(
        "CREATE VIEW v_audit AS "
        "SELECT id, at, actor, address, request_id, action, workflow, outcome, detail, hash FROM audit_event"
    )
