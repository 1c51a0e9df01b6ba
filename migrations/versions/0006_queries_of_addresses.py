"""Take the queries of download addresses out of what is recorded; signed addresses have their tokens there.

The audit trail keeps what it has: its rows are hashed and cannot be changed.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
import yaml
from alembic import op

from wfmgmt.domain.redaction import redacted
from wfmgmt.domain.yaml_redaction import redacted_yaml

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Cut the addresses, and those in the specs."""
    connection = op.get_bind()
    path = "split_part({0}, '?', 1)"
    if connection.dialect.name == "sqlite":
        op.execute("PRAGMA secure_delete = ON")  # What is overwritten must not stay in the file.
        path = "substr({0}, 1, instr({0}, '?') - 1)"
    op.execute(f"UPDATE workflow SET url = {path.format('url')} WHERE url LIKE '%://%?%'")  # noqa: S608 - constants
    op.execute(f"UPDATE node SET model_url = {path.format('model_url')} WHERE model_url LIKE '%://%?%'")  # noqa: S608
    for workflow_id, spec in connection.execute(sa.text("SELECT id, spec FROM workflow WHERE spec LIKE '%://%'")).all():
        connection.execute(
            sa.text("UPDATE workflow SET spec = :spec WHERE id = :id"), {"id": workflow_id, "spec": _redacted(spec)}
        )


def downgrade() -> None:
    """Leave them: what is gone is not needed, for downloads are in the store."""


def _redacted(spec: str) -> str:
    try:
        return redacted_yaml(spec)
    except yaml.YAMLError:
        return redacted(spec)
