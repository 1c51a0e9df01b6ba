"""What accompanies a change on its way from a client's request into the transaction that makes it."""

from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any, Self

from wfmgmt.domain.access import EVERYTHING, Scope
from wfmgmt.domain.audit import Origin
from wfmgmt.domain.operations import Operation
from wfmgmt.domain.plans import Plan
from wfmgmt.errors import PreconditionFailed, StalePlan
from wfmgmt.errors.access import Forbidden
from wfmgmt.registry.reading import Reader
from wfmgmt.registry.writing import Writer

#: A condition on the revision that every workflow which exists meets, as plain JSON.
_ANY = "*"


class AnyRevision(Container[int | None]):
    """Every revision that a workflow can have; none of a workflow that does not exist."""

    def __contains__(self, revision: object) -> bool:
        return revision is not None


def _ignore(_writer: Writer, _result: object) -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A request to change something: who asks, and under which conditions.

    Attributes:
        origin: Who asks.
        reason: Why, in the client's words; empty when not given.
        scope: The workflows that it may change.
        expected: Revisions of the workflow at which the change may be made; None when the client does not mind.
        dry_run: Whether to return only a plan of it.
        plan: Fingerprint of the plan that it has to carry out; empty when any will do.
        on_made: Called with the result in the transaction that makes the change.
    """

    origin: Origin
    reason: str = ""
    scope: Scope = EVERYTHING
    expected: Container[int | None] | None = None
    dry_run: bool = False
    plan: str = ""
    on_made: Callable[[Writer, Any], None] = _ignore

    @property
    def stated_reason(self) -> dict[str, str]:
        """The reason for the detail of an audit event; nothing when none was given."""
        return {"reason": self.reason} if self.reason else {}

    @property
    def conditions(self) -> dict[str, Any]:
        """Under which conditions it may be made later, as plain JSON."""
        expected: object = None
        if isinstance(self.expected, AnyRevision):
            expected = _ANY
        elif isinstance(self.expected, frozenset):
            expected = sorted(self.expected)
        return {**self.stated_reason, "plan": self.plan, "expected": expected, "scope": self.scope.patterns}

    @classmethod
    def of_operation(cls, operation: Operation) -> Self:
        """Return the change of an operation that was accepted with such conditions."""
        facts = operation.request
        expected = facts["expected"]
        return cls(
            origin=operation.origin,
            reason=facts.get("reason", ""),
            expected=AnyRevision() if expected == _ANY else None if expected is None else frozenset(expected),
            plan=facts["plan"],
            scope=Scope(None if (patterns := facts.get("scope")) is None else tuple(patterns)),
        )

    def check_scope(self, workflow: str) -> None:
        """Check that the client may change a workflow of this name.

        Raises:
            Forbidden: It may not.
        """
        if workflow not in self.scope:
            raise Forbidden(f"{self.origin.actor} may register workflows named {self.scope} only, not {workflow}.")

    def check_plan(self, plan: Plan) -> None:
        """Check that this is the plan that the client has seen.

        Raises:
            StalePlan: It is another one.
        """
        if self.plan not in ("", plan.fingerprint):
            raise StalePlan(plan.workflow)

    def check(self, reader: Reader, name: str) -> None:
        """Check that a workflow has a revision that the client expects.

        Raises:
            PreconditionFailed: It has another one, or there is no such workflow.
            StalePlan: The same, for a change that carries out a plan.
        """
        if self.expected is None:
            return
        revision = reader.revision(name)
        if revision not in self.expected:
            raise (
                StalePlan(name)
                if self.plan
                else PreconditionFailed(name, revision, str(reader.last_change(name) or ""))
            )
