"""Give every function of a registered workflow one worker.

Functions used to share processes, up to one for each function, which was recorded with each of them. Now each has
processes of its own, and one unless the spec says otherwise, which no spec could before.

Revision ID: 0004
Revises: 0003
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Set the workers of functions."""
    op.execute("UPDATE node SET min_workers = 1, max_workers = 1 WHERE kind = 'function'")


def downgrade() -> None:
    """Leave them: fewer shared processes are right for the older code, too."""
