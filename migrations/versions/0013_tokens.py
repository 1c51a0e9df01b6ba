"""Keep tokens: who may use the service, and for what. Only their digests are kept.

Revision ID: 0013
Revises: 0012
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

by_code_point = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

CHECKS = {
    "role": "role IN ('predict', 'view', 'audit', 'operate', 'register', 'admin')",
    "sha256": "length(sha256) = 64",
    "workflows": "length(workflows) > 0",
    "revoked": "(revoked_at IS NULL) = (revoked_by IS NULL)",
}

VIEW = """
CREATE VIEW v_token AS
SELECT
    name,
    prefix,
    role,
    workflows,
    note,
    created_at,
    created_by,
    expires_at,
    last_used_at,
    revoked_at,
    revoked_by
FROM token
"""


def upgrade() -> None:
    """Create the table and the view; without a token everything is as before."""
    op.create_table(
        "token",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", by_code_point, nullable=False),
        *(
            sa.Column(name, sa.Text(), nullable=False)
            for name in ("prefix", "sha256", "role", "workflows", "note", "created_at", "created_by")
        ),
        *(sa.Column(name, sa.Text()) for name in ("expires_at", "last_used_at", "revoked_at", "revoked_by")),
        *(sa.CheckConstraint(condition, name=op.f(f"ck_token_{name}")) for name, condition in CHECKS.items()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_token")),
        sa.UniqueConstraint("name", name=op.f("uq_token_name")),
        sa.UniqueConstraint("sha256", name=op.f("uq_token_sha256")),
        sqlite_strict=True,
    )
    op.execute(VIEW)


def downgrade() -> None:
    """Forget all tokens: an older service asks for none."""
    op.execute("DROP VIEW v_token")
    op.drop_table("token")
