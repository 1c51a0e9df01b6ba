"""Create the table that holds the identity of the deployment.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table; whoever needs the identity first makes one up."""
    op.create_table(
        "deployment",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("identity", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_deployment_only_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deployment")),
        sqlite_strict=True,
    )


def downgrade() -> None:
    """Remove the table."""
    op.drop_table("deployment")
