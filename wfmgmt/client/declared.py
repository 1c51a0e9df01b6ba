"""Declared state as the service answers it, as frozen values."""

from datetime import datetime
from typing import Any, Literal

from pydantic.dataclasses import dataclass

from wfmgmt.client.call import CAMEL_CASE
from wfmgmt.client.plans import Change


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class ApplyError:
    """Why a workflow could not be brought to what is declared."""

    code: int
    type: str
    message: str


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class Applied:
    """What became of one workflow.

    Attributes:
        workflow: Its name.
        action: What was done, or was to be done.
        changes: What differed from what is declared.
        error: Why that could not be done; None when it was.
    """

    workflow: str
    action: Literal["create", "update", "remove", "none"]
    changes: tuple[Change, ...]
    error: ApplyError | None


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class ApplyResults:
    """What became of all workflows that a declaration is about.

    Attributes:
        results: Of each.
        dry_run: Whether it only says what would become of them.
    """

    results: tuple[Applied, ...]
    dry_run: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing differs."""
        return all(each.action == "none" and each.error is None for each in self.results)


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class Drifted:
    """A value that somebody has changed since it was applied.

    Attributes:
        workflow: Of which workflow.
        path: Where it is, like `versions[1.0].nodes.sentiment.maxWorkers`.
        declared: What it should be; None when it should not be there.
        found: What it is; None when it is not there.
        since: When the workflow was changed last.
        actor: By whom.
    """

    workflow: str
    path: str
    declared: Any
    found: Any
    since: datetime | None
    actor: str | None


@dataclass(config=CAMEL_CASE, frozen=True, slots=True, kw_only=True)
class Drift:
    """All that drifted."""

    drift: tuple[Drifted, ...]
