"""Show the routes of a release in their order on SQLite, too, whose aggregates have none.

Revision ID: 0014
Revises: 0013
"""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

VIEW = """
CREATE VIEW v_release AS
SELECT
    release.workflow,
    release.number,
    release.at,
    release.actor,
    release.kind,
    release.reason,
    release.previous,
    ({routes}) AS routes,
    (SELECT release_route.version || '=' || release_route.weight FROM release_route
        WHERE release_route.release_id = release.id AND release_route.kind = 'mirror') AS mirror,
    release.policy,
    CASE WHEN EXISTS (SELECT 1 FROM workflow WHERE workflow.release_id = release.id) THEN 1 ELSE 0 END AS is_current,
    release.workflow_uid
FROM release
"""
IN_ANY_ORDER = """
SELECT group_concat(release_route.version || '=' || release_route.weight, ' ') FROM release_route
    WHERE release_route.release_id = release.id AND release_route.kind = 'serve'
"""
IN_ORDER = """
SELECT group_concat(route, ' ') FROM (
    SELECT release_route.version || '=' || release_route.weight AS route FROM release_route
    WHERE release_route.release_id = release.id AND release_route.kind = 'serve'
    ORDER BY release_route.id
)
"""


def upgrade() -> None:
    """Order them by their numbers; PostgreSQL has done so."""
    _replace(IN_ORDER)


def downgrade() -> None:
    """Leave the order to the database."""
    _replace(IN_ANY_ORDER)


def _replace(routes: str) -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP VIEW v_release")
        op.execute(VIEW.format(routes=routes))
