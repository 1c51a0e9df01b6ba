"""Index operations by state in their order, so that nothing is sorted to find the first of those that wait.

Revision ID: 0012
Revises: 0011
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the index."""
    op.create_index(op.f("ix_operation_state_id"), "operation", ["state", "id"])


def downgrade() -> None:
    """Drop it."""
    op.drop_index(op.f("ix_operation_state_id"), "operation")
