"""Create the audit trail: a table that only grows, and the view for auditors.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

by_code_point = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

V_AUDIT = """
CREATE VIEW v_audit AS
SELECT id, at, actor, address, request_id, action, workflow, outcome, detail, hash
FROM audit_event
"""

SQLITE_TRIGGER = """
CREATE TRIGGER audit_event_refuses_{operation} BEFORE {operation} ON audit_event
BEGIN SELECT RAISE(ABORT, 'audit_event is append-only'); END
"""

# INSERT OR REPLACE removes rows without firing a delete trigger, so rows may only be added at the end.
SQLITE_INSERT_TRIGGER = """
CREATE TRIGGER audit_event_refuses_replace BEFORE INSERT ON audit_event
WHEN EXISTS (
    SELECT 1 FROM audit_event
    WHERE id >= NEW.id OR hash = NEW.hash OR previous_hash = NEW.previous_hash
)
BEGIN SELECT RAISE(ABORT, 'audit_event is append-only'); END
"""

POSTGRESQL_FUNCTION = """
CREATE FUNCTION audit_event_refuses_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'audit_event is append-only'; END $$
"""

POSTGRESQL_TRIGGER = """
CREATE TRIGGER audit_event_refuses_change BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_event
FOR EACH STATEMENT EXECUTE FUNCTION audit_event_refuses_change()
"""


def upgrade() -> None:
    """Create the table, its triggers and the view."""
    op.create_table(
        "audit_event",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("workflow", by_code_point, nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("previous_hash", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.CheckConstraint("action IN ('register', 'unregister', 'reconcile')", name=op.f("ck_audit_event_action")),
        sa.CheckConstraint("outcome IN ('succeeded', 'failed')", name=op.f("ck_audit_event_outcome")),
        sa.CheckConstraint("length(previous_hash) = 64 AND length(hash) = 64", name=op.f("ck_audit_event_hash")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_event")),
        sa.UniqueConstraint("hash", name=op.f("uq_audit_event_hash")),
        sa.UniqueConstraint("previous_hash", name=op.f("uq_audit_event_previous_hash")),
        sqlite_strict=True,
    )
    op.create_index(op.f("ix_audit_event_request_id"), "audit_event", ["request_id"])
    op.create_index(op.f("ix_audit_event_workflow"), "audit_event", ["workflow"])
    if op.get_bind().dialect.name == "sqlite":
        for operation in ("update", "delete"):
            op.execute(SQLITE_TRIGGER.format(operation=operation))
        op.execute(SQLITE_INSERT_TRIGGER)
    else:
        op.execute(POSTGRESQL_FUNCTION)
        op.execute(POSTGRESQL_TRIGGER)
    op.execute(V_AUDIT)


def downgrade() -> None:
    """Drop all of it; the registry keeps its rows."""
    op.execute("DROP VIEW v_audit")
    op.drop_table("audit_event")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION audit_event_refuses_change")
