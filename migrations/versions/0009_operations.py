"""Keep operations: long work from the moment it is accepted, with how far it is and how it ended.

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

by_code_point = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
size = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

CHECKS = {
    "kind": "length(kind) BETWEEN 1 AND 40 AND kind = lower(kind)",
    "state": "state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')",
    "phase": "phase IN ('fetching', 'checking', 'loading', 'switching')",
    "bytes": "done_bytes >= 0 AND total_bytes >= 0",
    "lease": "(state = 'running') = (lease IS NOT NULL)",
    "ended_at": "(state IN ('queued', 'running')) = (ended_at IS NULL)",
    "key": "key IS NULL OR ended_at IS NULL",
    "error": "(state = 'failed') = (error IS NOT NULL)",
}

V_OPERATION = """
CREATE VIEW v_operation AS
SELECT
    uid AS id,
    kind,
    workflow,
    version,
    url,
    state,
    phase,
    done_bytes,
    total_bytes,
    nodes,
    result,
    error,
    actor,
    address,
    request_id,
    created_at,
    started_at,
    ended_at,
    cancelled_by
FROM operation
"""


def upgrade() -> None:
    """Create the table and the view."""
    op.create_table(
        "operation",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column("key", sa.Text()),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("workflow", by_code_point, nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("version", "url", "state")),
        sa.Column("phase", sa.Text()),
        sa.Column("done_bytes", size, nullable=False),
        sa.Column("total_bytes", size),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("nodes", "request")),
        *(sa.Column(name, sa.Text()) for name in ("result", "error")),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("actor", "address", "request_id")),
        sa.Column("lease", sa.Text()),
        sa.Column("created_at", sa.Text(), nullable=False),
        *(sa.Column(name, sa.Text()) for name in ("started_at", "ended_at", "cancelled_by")),
        *(sa.CheckConstraint(condition, name=op.f(f"ck_operation_{name}")) for name, condition in CHECKS.items()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_operation")),
        sa.UniqueConstraint("key", name=op.f("uq_operation_key")),
        sa.UniqueConstraint("uid", name=op.f("uq_operation_uid")),
        sqlite_strict=True,
    )
    op.create_index(op.f("ix_operation_state_workflow"), "operation", ["state", "workflow"])
    op.execute(V_OPERATION)


def downgrade() -> None:
    """Forget all operations; those that were under way are undone by their leases, as before."""
    op.execute("DROP VIEW v_operation")
    op.drop_table("operation")
