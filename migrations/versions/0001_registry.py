"""Create the registry: workflows, their nodes and edges, and the view for auditors.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

by_code_point = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

V_WORKFLOW = """
CREATE VIEW v_workflow AS
SELECT
    workflow.name,
    workflow.status,
    workflow.url,
    workflow.archive_sha256,
    workflow.dag,
    (SELECT count(*) FROM node WHERE node.workflow_id = workflow.id AND node.kind = 'model') AS models,
    (SELECT count(*) FROM node WHERE node.workflow_id = workflow.id AND node.kind = 'function') AS functions,
    (SELECT sum(node.min_workers) FROM node WHERE node.workflow_id = workflow.id AND node.kind = 'model')
        AS min_model_workers,
    (SELECT sum(node.max_workers) FROM node WHERE node.workflow_id = workflow.id AND node.kind = 'model')
        AS max_model_workers,
    workflow.response_timeout_s,
    workflow.startup_timeout_s,
    workflow.created_at,
    workflow.registered_at,
    workflow.updated_at
FROM workflow
"""


def upgrade() -> None:
    """Create the tables, their indexes and the view."""
    op.create_table(
        "workflow",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column("name", by_code_point, nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("archive_file", sa.Text(), nullable=False),
        sa.Column("archive_downloaded", sa.Integer(), nullable=False),
        sa.Column("archive_sha256", sa.Text(), nullable=False),
        sa.Column("handler", sa.Text(), nullable=True),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("dag", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("lease", sa.Text(), nullable=True),
        sa.Column("min_workers", sa.Integer(), nullable=False),
        sa.Column("max_workers", sa.Integer(), nullable=False),
        sa.Column("batch_size", sa.Integer(), nullable=False),
        sa.Column("max_batch_delay_ms", sa.Integer(), nullable=False),
        sa.Column("retry_attempts", sa.Integer(), nullable=False),
        sa.Column("timeout_ms", sa.Integer(), nullable=False),
        sa.Column("response_timeout_s", sa.Integer(), nullable=False),
        sa.Column("startup_timeout_s", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("registered_at", sa.Text(), nullable=True),
        sa.Column("updated_at", sa.Text(), nullable=False),
        sa.CheckConstraint("(status = 'ready') = (lease IS NULL)", name=op.f("ck_workflow_lease")),
        sa.CheckConstraint("status IN ('registering', 'ready', 'unregistering')", name=op.f("ck_workflow_status")),
        sa.CheckConstraint("archive_downloaded IN (0, 1)", name=op.f("ck_workflow_archive_downloaded")),
        sa.CheckConstraint("batch_size >= 1 AND max_batch_delay_ms >= 0", name=op.f("ck_workflow_batch")),
        sa.CheckConstraint("length(archive_sha256) = 64", name=op.f("ck_workflow_archive_sha256")),
        sa.CheckConstraint(
            "min_workers >= 0 AND max_workers >= 1 AND max_workers >= min_workers", name=op.f("ck_workflow_workers")
        ),
        sa.CheckConstraint("response_timeout_s >= 1 AND startup_timeout_s >= 1", name=op.f("ck_workflow_timeouts")),
        sa.CheckConstraint("retry_attempts >= 0 AND timeout_ms >= 1", name=op.f("ck_workflow_tries")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workflow")),
        sa.UniqueConstraint("name", name=op.f("uq_workflow_name")),
        sa.UniqueConstraint("uid", name=op.f("uq_workflow_uid")),
        sqlite_strict=True,
    )
    op.create_index(op.f("ix_workflow_status_name_url"), "workflow", ["status", "name", "url"])
    op.create_table(
        "node",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("workflow_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("model_url", sa.Text(), nullable=True),
        sa.Column("model_file", sa.Text(), nullable=True),
        sa.Column("model_downloaded", sa.Integer(), nullable=False),
        sa.Column("model_sha256", sa.Text(), nullable=True),
        sa.Column("min_workers", sa.Integer(), nullable=False),
        sa.Column("max_workers", sa.Integer(), nullable=False),
        sa.Column("batch_size", sa.Integer(), nullable=False),
        sa.Column("max_batch_delay_ms", sa.Integer(), nullable=False),
        sa.Column("retry_attempts", sa.Integer(), nullable=False),
        sa.Column("timeout_ms", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "(kind = 'model') = (model_url IS NOT NULL AND model_file IS NOT NULL AND model_sha256 IS NOT NULL)",
            name=op.f("ck_node_model"),
        ),
        sa.CheckConstraint("kind IN ('model', 'function')", name=op.f("ck_node_kind")),
        sa.CheckConstraint("batch_size >= 1 AND max_batch_delay_ms >= 0", name=op.f("ck_node_batch")),
        sa.CheckConstraint(
            "min_workers >= 0 AND max_workers >= 1 AND max_workers >= min_workers", name=op.f("ck_node_workers")
        ),
        sa.CheckConstraint("model_downloaded IN (0, 1)", name=op.f("ck_node_model_downloaded")),
        sa.CheckConstraint("retry_attempts >= 0 AND timeout_ms >= 1", name=op.f("ck_node_tries")),
        sa.ForeignKeyConstraint(
            ["workflow_id"], ["workflow.id"], name=op.f("fk_node_workflow_id_workflow"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_node")),
        sa.UniqueConstraint("workflow_id", "name", name=op.f("uq_node_workflow_id_name")),
        sa.UniqueConstraint("workflow_id", "position", name=op.f("uq_node_workflow_id_position")),
        sqlite_strict=True,
    )
    op.create_table(
        "edge",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("workflow_id", sa.Integer(), nullable=False),
        sa.Column("source_id", sa.Integer(), nullable=False),
        sa.Column("target_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.CheckConstraint("source_id <> target_id", name=op.f("ck_edge_self_loop")),
        sa.ForeignKeyConstraint(["source_id"], ["node.id"], name=op.f("fk_edge_source_id_node"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["target_id"], ["node.id"], name=op.f("fk_edge_target_id_node"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["workflow_id"], ["workflow.id"], name=op.f("fk_edge_workflow_id_workflow"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_edge")),
        sa.UniqueConstraint("source_id", "target_id", name=op.f("uq_edge_source_id_target_id")),
        sa.UniqueConstraint("workflow_id", "position", name=op.f("uq_edge_workflow_id_position")),
        sqlite_strict=True,
    )
    op.create_index(op.f("ix_edge_target_id"), "edge", ["target_id"])
    op.execute(V_WORKFLOW)


def downgrade() -> None:
    """Drop all of it."""
    op.execute("DROP VIEW v_workflow")
    op.drop_table("edge")
    op.drop_table("node")
    op.drop_table("workflow")
