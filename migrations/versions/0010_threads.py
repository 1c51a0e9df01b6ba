"""Keep how many threads libraries in the workers of a node are to use, where its spec says so.

Revision ID: 0010
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; no spec of an earlier version had the key."""
    op.add_column("node", sa.Column("threads", sa.Integer()))


def downgrade() -> None:
    """Drop it: workers get their part of the cores."""
    op.drop_column("node", "threads")
