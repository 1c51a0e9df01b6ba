"""Keep the receipt of the event in the audit trail that says how an operation ended.

Revision ID: 0016
Revises: 0015
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; operations that are done have none."""
    op.add_column("operation", sa.Column("receipt", sa.Text()))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("operation", "receipt")
