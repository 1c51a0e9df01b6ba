"""Create the table in which the service that uses a PostgreSQL database shows that it lives.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table; the first service that starts fills it."""
    op.create_table(
        "heartbeat",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.Text(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_heartbeat_only_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_heartbeat")),
        sqlite_strict=True,
    )


def downgrade() -> None:
    """Remove the table."""
    op.drop_table("heartbeat")
