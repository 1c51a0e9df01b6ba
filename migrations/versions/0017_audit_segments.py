"""Let old rows of the audit trail go once a segment has them; nothing else may be removed.

Revision ID: 0017
Revises: 0016
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

CHECKS = {
    "ids": "first_id >= 1 AND last_id >= first_id",
    "hashes": "length(previous_hash) = 64 AND length(hash) = 64 AND length(sha256) = 64",
}

COLUMNS = "id, at, actor, address, request_id, action, workflow, outcome, detail, hash"
V_AUDIT_BEFORE = f"CREATE VIEW v_audit AS\nSELECT {COLUMNS}\nFROM audit_event\n"
V_AUDIT = V_AUDIT_BEFORE + "WHERE id > (SELECT coalesce(max(last_id), 0) FROM audit_segment)\n"  # noqa: S608 - constants

#: A segment begins behind the one before, has all of its rows, and leaves the newest row, with which the chain goes on.
FITS = """
    NEW.first_id = (SELECT coalesce(max(last_id), 0) + 1 FROM {segments})
    AND NEW.previous_hash = coalesce((SELECT hash FROM {segments} ORDER BY last_id DESC LIMIT 1), '{zeros}')
    AND NEW.last_id < (SELECT max(id) FROM {events})
    AND NEW.last_id - NEW.first_id + 1
        = (SELECT count(*) FROM {events} WHERE id BETWEEN NEW.first_id AND NEW.last_id)
    AND EXISTS (SELECT 1 FROM {events} WHERE id = NEW.first_id AND previous_hash = NEW.previous_hash)
    AND EXISTS (SELECT 1 FROM {events} WHERE id = NEW.last_id AND hash = NEW.hash)
"""
ZEROS = "0" * 64
SQLITE_FITS = FITS.format(segments="audit_segment", events="audit_event", zeros=ZEROS)

SQLITE_REFUSAL = """
CREATE TRIGGER {table}_refuses_{operation} BEFORE {operation} ON {table}
BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END
"""
SQLITE_DELETE = """
CREATE TRIGGER audit_event_refuses_delete BEFORE DELETE ON audit_event
WHEN OLD.id > (SELECT coalesce(max(last_id), 0) FROM audit_segment)
BEGIN SELECT RAISE(ABORT, 'audit_event is append-only'); END
"""
SQLITE_INSERT = f"""
CREATE TRIGGER audit_segment_refuses_replace BEFORE INSERT ON audit_segment
WHEN NOT ({SQLITE_FITS})
BEGIN SELECT RAISE(ABORT, 'audit_segment does not continue the chain'); END
"""

POSTGRESQL_REFUSAL = """
CREATE FUNCTION audit_segment_refuses_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'audit_segment is append-only'; END $$
"""
# The tables are named with their schema: a temporary one of the same name would be found first.
POSTGRESQL_DELETE = """
CREATE FUNCTION audit_event_refuses_delete() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE archived bigint;
BEGIN
    EXECUTE format('SELECT coalesce(max(last_id), 0) FROM %I.audit_segment', TG_TABLE_SCHEMA) INTO archived;
    IF EXISTS (SELECT 1 FROM gone WHERE id > archived) THEN RAISE EXCEPTION 'audit_event is append-only'; END IF;
    RETURN NULL;
END $$
"""
POSTGRESQL_REPLACE = """
CREATE FUNCTION audit_event_refuses_replace() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE newest bigint;
BEGIN
    EXECUTE format('SELECT coalesce(max(id), 0) FROM %I.audit_event', TG_TABLE_SCHEMA) INTO newest;
    IF NEW.id <= newest THEN RAISE EXCEPTION 'audit_event is append-only'; END IF;
    RETURN NEW;
END $$
"""
POSTGRESQL_INSERT = """
CREATE FUNCTION audit_segment_refuses_replace() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE fits boolean;
BEGIN
    EXECUTE replace(replace(replace($f$SELECT {fits}$f$, 'NEW.', '($1).'),
        '@events', format('%I.audit_event', TG_TABLE_SCHEMA)),
        '@segments', format('%I.audit_segment', TG_TABLE_SCHEMA)) INTO fits USING NEW;
    IF fits IS NOT TRUE THEN RAISE EXCEPTION 'audit_segment does not continue the chain'; END IF;
    RETURN NEW;
END $$
""".format(fits=FITS.format(segments="@segments", events="@events", zeros=ZEROS))
POSTGRESQL_TRIGGERS = """
CREATE TRIGGER audit_event_refuses_change BEFORE UPDATE OR TRUNCATE ON audit_event
FOR EACH STATEMENT EXECUTE FUNCTION audit_event_refuses_change();
CREATE TRIGGER audit_event_refuses_delete AFTER DELETE ON audit_event REFERENCING OLD TABLE AS gone
FOR EACH STATEMENT EXECUTE FUNCTION audit_event_refuses_delete();
CREATE TRIGGER audit_event_refuses_replace BEFORE INSERT ON audit_event
FOR EACH ROW EXECUTE FUNCTION audit_event_refuses_replace();
CREATE TRIGGER audit_segment_refuses_change BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_segment
FOR EACH STATEMENT EXECUTE FUNCTION audit_segment_refuses_change();
CREATE TRIGGER audit_segment_refuses_replace BEFORE INSERT ON audit_segment
FOR EACH ROW EXECUTE FUNCTION audit_segment_refuses_replace();
"""
POSTGRESQL_BEFORE = """
CREATE TRIGGER audit_event_refuses_change BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_event
FOR EACH STATEMENT EXECUTE FUNCTION audit_event_refuses_change()
"""


def upgrade() -> None:
    """Create the table and its triggers, and let the audit trail remove what segments have."""
    op.create_table(
        "audit_segment",
        sa.Column("first_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("last_id", sa.Integer(), nullable=False),
        *(
            sa.Column(name, sa.Text(), nullable=False)
            for name in ("previous_hash", "hash", "file", "sha256", "at", "actor")
        ),
        *(sa.CheckConstraint(condition, name=op.f(f"ck_audit_segment_{name}")) for name, condition in CHECKS.items()),
        sa.PrimaryKeyConstraint("first_id", name=op.f("pk_audit_segment")),
        sa.UniqueConstraint("last_id", name=op.f("uq_audit_segment_last_id")),
        sqlite_strict=True,
    )
    op.execute("DROP VIEW v_audit")
    op.execute(V_AUDIT)
    if op.get_bind().dialect.name == "sqlite":
        for operation in ("update", "delete"):
            op.execute(SQLITE_REFUSAL.format(table="audit_segment", operation=operation))
        op.execute(SQLITE_INSERT)
        op.execute("DROP TRIGGER audit_event_refuses_delete")
        op.execute(SQLITE_DELETE)
        return
    op.execute("DROP TRIGGER audit_event_refuses_change ON audit_event")
    for statement in (
        *(POSTGRESQL_REFUSAL, POSTGRESQL_DELETE, POSTGRESQL_REPLACE, POSTGRESQL_INSERT),
        POSTGRESQL_TRIGGERS,
    ):
        op.execute(statement)


def downgrade() -> None:
    """Drop the table, which has to be empty: an older service would miss the rows that are not there any more."""
    if op.get_bind().execute(sa.text("SELECT 1 FROM audit_segment LIMIT 1")).first() is not None:
        raise RuntimeError("rows of the audit trail were archived, which a schema before 0017 does not know")
    op.execute("DROP VIEW v_audit")
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TRIGGER audit_event_refuses_delete")
        op.execute(SQLITE_REFUSAL.format(table="audit_event", operation="delete"))
    else:
        for name in ("change", "delete", "replace"):
            op.execute(f"DROP TRIGGER audit_event_refuses_{name} ON audit_event")
        op.execute(POSTGRESQL_BEFORE)
    op.drop_table("audit_segment")
    if op.get_bind().dialect.name == "postgresql":
        for name in (
            "segment_refuses_change",
            "segment_refuses_replace",
            "event_refuses_delete",
            "event_refuses_replace",
        ):
            op.execute(f"DROP FUNCTION audit_{name}")
    op.execute(V_AUDIT_BEFORE)
