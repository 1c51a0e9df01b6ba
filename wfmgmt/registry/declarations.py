"""What files declare about workflows, each of which comes from one source."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, RowMapping, delete, insert, select

from wfmgmt.domain.audit import canonical_json
from wfmgmt.domain.declared import DeclaredWorkflow
from wfmgmt.registry.tables import declaration as table
from wfmgmt.registry.tables import workflow, workflow_version
from wfmgmt.registry.targets import READY

_ALL = select(table).order_by(table.c.workflow)
_URLS = (
    select(workflow.c.name, workflow_version.c.version, workflow_version.c.url)
    .join(workflow, workflow.c.id == workflow_version.c.workflow_id)
    .where(workflow_version.c.status == READY)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptDeclaration:
    """What was declared about a workflow when it was applied last.

    Attributes:
        source: Where it was declared.
        declared: What.
        at: When it was applied.
        actor: Who applied it.
    """

    source: str
    declared: DeclaredWorkflow
    at: str
    actor: str


class DeclarationReader:
    """The declarations as one transaction sees them; made by `Reader.declarations` and valid only inside it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def all(self) -> dict[str, KeptDeclaration]:
        """Return all of them, by the names of their workflows."""
        return {row["workflow"]: _kept(row) for row in self._connection.execute(_ALL).mappings()}

    def get(self, name: str) -> KeptDeclaration | None:
        """Return that of a workflow; None without one."""
        row = self._connection.execute(select(table).where(table.c.workflow == name)).mappings().one_or_none()
        return None if row is None else _kept(row)

    def urls(self, name: str | None = None) -> dict[str, dict[str, str]]:
        """Return what ready versions were registered from, of all workflows or of one: url by workflow and version."""
        found: dict[str, dict[str, str]] = {}
        for row in self._connection.execute(_URLS if name is None else _URLS.where(workflow.c.name == name)):
            found.setdefault(row.name, {})[row.version] = row.url
        return found


class DeclarationWriter(DeclarationReader):
    """The same in a transaction that writes; made by `Writer.declarations`.

    Args:
        connection: In a transaction that holds the write lock.
        now: Its time.
    """

    def __init__(self, connection: Connection, now: str) -> None:
        super().__init__(connection)
        self._now = now

    def keep(self, declared: DeclaredWorkflow, *, source: str, actor: str) -> None:
        """Record what was applied to a workflow, in place of what was before."""
        self.forget(declared.name)
        values: Mapping[str, str] = {
            "workflow": declared.name,
            "source": source,
            "declared": canonical_json(declared.json()),
            "at": self._now,
            "actor": actor,
        }
        self._connection.execute(insert(table).values(values))

    def forget(self, name: str) -> None:
        """Record that nothing is declared about a workflow."""
        self._connection.execute(delete(table).where(table.c.workflow == name))


def _kept(row: RowMapping) -> KeptDeclaration:
    return KeptDeclaration(
        source=row["source"],
        declared=DeclaredWorkflow.of_json(row["workflow"], json.loads(row["declared"])),
        at=row["at"],
        actor=row["actor"],
    )
