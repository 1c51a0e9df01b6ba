"""Keep what files declare about workflows: from which source each one comes, and what that says.

Revision ID: 0018
Revises: 0017
"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

by_code_point = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

VIEW = """
CREATE VIEW v_declaration AS
SELECT
    declaration.workflow,
    declaration.source,
    declaration.declared,
    declaration.at,
    declaration.actor,
    CASE WHEN EXISTS (
        SELECT 1 FROM workflow WHERE workflow.name = declaration.workflow AND workflow.default_version_id IS NOT NULL
    ) THEN 1 ELSE 0 END AS is_registered
FROM declaration
"""


def upgrade() -> None:
    """Create the table and the view; nothing is declared yet."""
    op.create_table(
        "declaration",
        sa.Column("workflow", by_code_point, nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("source", "declared", "at", "actor")),
        sa.CheckConstraint("length(source) BETWEEN 1 AND 64", name=op.f("ck_declaration_source")),
        sa.PrimaryKeyConstraint("workflow", name=op.f("pk_declaration")),
        sqlite_strict=True,
    )
    op.create_index(op.f("ix_declaration_source"), "declaration", ["source"])
    op.execute(VIEW)


def downgrade() -> None:
    """Forget what was declared; the workflows stay."""
    op.execute("DROP VIEW v_declaration")
    op.drop_table("declaration")
