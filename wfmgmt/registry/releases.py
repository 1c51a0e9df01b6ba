"""Releases in the database: rows that are only ever added, and the pointers of their workflow."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, insert, select

from wfmgmt.domain.releases import Mirror, Release, ReleaseKind, Route, RouteKind, RoutingTable
from wfmgmt.domain.status import WorkflowStatus
from wfmgmt.registry.tables import release, release_route, workflow_version

_BY_ID = select(release).where(release.c.id == bindparam("id"))
_BY_NUMBER = select(release).where(
    release.c.workflow_uid == bindparam("workflow_uid"), release.c.number == bindparam("number")
)
_PAGE = (
    select(release)
    .where(release.c.workflow_uid == bindparam("workflow_uid"), release.c.number < bindparam("before"))
    .order_by(release.c.number.desc())
    .limit(bindparam("rows"))
)
_ROUTES = (
    select(release_route.c.release_id, release_route.c.version, release_route.c.kind, release_route.c.weight)
    .where(release_route.c.release_id.in_(bindparam("ids", expanding=True)))
    .order_by(release_route.c.id)
)
_REGISTERED = select(workflow_version.c.uid).where(workflow_version.c.status == WorkflowStatus.READY.value)
_GONE = select(release_route.c.id).where(
    release_route.c.release_id == release.c.id, release_route.c.version_uid.not_in(_REGISTERED)
)
_REPEATABLE = select(func.max(release.c.number)).where(
    release.c.workflow_uid == bindparam("workflow_uid"), release.c.number < bindparam("before"), ~_GONE.exists()
)
#: Numbers of releases are smaller.
_MAX_NUMBER = 2**31 - 1


def by_ids(connection: Connection, ids: Iterable[int]) -> dict[int, Release]:
    """Return releases by the numbers of their rows."""
    rows = connection.execute(select(release).where(release.c.id.in_(list(ids)))).all()
    return dict(zip([row.id for row in rows], _releases(connection, rows), strict=True))


def current(connection: Connection, release_id: int) -> Release:
    """Return the release that a workflow points to."""
    return _releases(connection, [connection.execute(_BY_ID, {"id": release_id}).one()])[0]


def numbered(connection: Connection, workflow_uid: str, number: int) -> Release | None:
    """Return one release of a workflow, None when it has none of that number."""
    if number > _MAX_NUMBER:
        return None
    rows = connection.execute(_BY_NUMBER, {"workflow_uid": workflow_uid, "number": number}).all()
    return _releases(connection, rows)[0] if rows else None


def page(connection: Connection, workflow_uid: str, *, limit: int, before: int | None) -> list[Release]:
    """Return releases of a workflow, the newest first."""
    parameters = {"workflow_uid": workflow_uid, "before": before or _MAX_NUMBER, "rows": limit}
    return _releases(connection, connection.execute(_PAGE, parameters).all())


def uids(connection: Connection, workflow_uid: str, number: int) -> dict[str, str]:
    """Return which registration each version that a release names was."""
    rows = connection.execute(
        select(release_route.c.version, release_route.c.version_uid)
        .join(release)
        .where(release.c.workflow_uid == workflow_uid, release.c.number == number)
    )
    return {row.version: row.version_uid for row in rows}


def repeatable(connection: Connection, workflow_uid: str, before: int) -> int | None:
    """Return the newest release before a number of which every version is still registered; None without one."""
    number: int | None = connection.execute(_REPEATABLE, {"workflow_uid": workflow_uid, "before": before}).scalar()
    return number


def _releases(connection: Connection, rows: Iterable[Row[Any]]) -> list[Release]:
    rows = list(rows)
    routes: dict[int, list[Route]] = {row.id: [] for row in rows}
    mirrors: dict[int, Mirror] = {}
    for release_id, version, kind, weight in connection.execute(_ROUTES, {"ids": list(routes)}) if rows else ():
        if kind == RouteKind.MIRROR:
            mirrors[release_id] = Mirror(version=version, percent=weight)
        else:
            routes[release_id].append(Route(version=version, weight=weight))
    return [
        Release(
            number=row.number,
            at=row.at,
            actor=row.actor,
            reason=row.reason,
            kind=ReleaseKind(row.kind),
            previous=row.previous,
            table=RoutingTable.from_policy(routes[row.id], mirrors.get(row.id), row.policy),
        )
        for row in rows
    ]


def add(connection: Connection, made: Release, *, workflow_uid: str, workflow: str, uids: Mapping[str, str]) -> int:
    """Add a release with its routes, and return the number of its row.

    Args:
        connection: In a transaction that holds the write lock.
        made: The release.
        workflow_uid: Identity of its workflow.
        workflow: The workflow's name.
        uids: Identity of the registration of each version that it names.
    """
    inserted = connection.execute(
        insert(release).returning(release.c.id),
        {
            "workflow_uid": workflow_uid,
            "workflow": workflow,
            "number": made.number,
            "at": made.at,
            "actor": made.actor,
            "reason": made.reason,
            "kind": made.kind.value,
            "previous": made.previous,
            "policy": made.table.policy(),
        },
    )
    release_id: int = inserted.scalar_one()
    shares = [(RouteKind.SERVE, route.version, route.weight) for route in made.table.routes]
    if (mirror := made.table.mirror) is not None:
        shares.append((RouteKind.MIRROR, mirror.version, mirror.percent))
    rows = [
        {
            "release_id": release_id,
            "version_uid": uids[version],
            "version": version,
            "kind": kind.value,
            "weight": weight,
        }
        for kind, version, weight in shares
    ]
    if rows:
        connection.execute(insert(release_route), rows)
    return release_id
