"""Count the changes of workflows, and call the table with the identity `installation`.

Rows that are there get revision 0: a runtime compares everything when it starts.

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the revision of each workflow, their counter and the removals; rename the table of the identity."""
    op.add_column("workflow", sa.Column("revision", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.create_index(op.f("ix_workflow_revision"), "workflow", ["revision"])
    op.create_table(
        "revision_counter",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("last", sa.Integer(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_revision_counter_only_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_revision_counter")),
        sqlite_strict=True,
    )
    op.execute("INSERT INTO revision_counter (id, last) VALUES (1, 0)")
    op.create_table(
        "removal",
        sa.Column("revision", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("revision", name=op.f("pk_removal")),
        sqlite_strict=True,
    )
    _move_identity("deployment", "installation")


def downgrade() -> None:
    """Remove what counts changes, and give the table of the identity its older name."""
    _move_identity("installation", "deployment")
    op.drop_table("removal")
    op.drop_table("revision_counter")
    op.drop_index(op.f("ix_workflow_revision"), "workflow")
    op.drop_column("workflow", "revision")


def _move_identity(source: str, target: str) -> None:
    """Copy the table, since SQLite cannot rename the constraints that are called after it."""
    op.create_table(
        target,
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("identity", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f(f"ck_{target}_only_row")),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{target}")),
        sqlite_strict=True,
    )
    op.execute(f"INSERT INTO {target} SELECT id, identity, created_at FROM {source}")  # noqa: S608 - constants
    op.drop_table(source)
