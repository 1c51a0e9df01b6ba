"""Errors of declared state.

WfmgmtError
├── SourceBusy                  what a source declares is being applied right now
├── NotManaged                  a workflow does not come from the source that is applied
├── DeclaredOtherwise           a version is registered from another archive than the declared one
├── NotApplied                  some workflows could not be brought to what is declared
└── DeclarationTooLarge         a declaration is longer than any needs to be
"""

from collections.abc import Mapping, Sequence

from wfmgmt.errors import WfmgmtError


class SourceBusy(WfmgmtError):
    """What a source declares is being applied."""

    def __init__(self, source: str) -> None:
        super().__init__(f"Source {source} is being applied right now; try again when that is finished.")


class NotManaged(WfmgmtError):
    """A workflow does not come from the source that is applied.

    Args:
        name: The workflow.
        source: Where it comes from; None when it was registered by hand.
    """

    def __init__(self, name: str, source: str | None) -> None:
        origin = "was not made by a source" if source is None else f"comes from source {source}"
        super().__init__(f"Workflow {name} {origin}; with adopt=true it is taken over.")


class DeclaredOtherwise(WfmgmtError):
    """A version is registered from another archive than the one that is declared; versions never change."""

    def __init__(self, name: str, version: str, found: str, declared: str) -> None:
        super().__init__(
            f"Version {version} of workflow {name} is registered from {found}, and declared from {declared}; "
            "a version never changes, declare another one."
        )


class NotApplied(WfmgmtError):
    """Some workflows could not be brought to what is declared; the others were.

    Args:
        reasons: Why, by their names.
        total: Workflows in all.

    Attributes:
        results: What came of each, as plain JSON.
    """

    MAX_NAMED = 10

    def __init__(self, reasons: Mapping[str, str], total: int, results: Sequence[Mapping[str, object]] = ()) -> None:
        named = list(reasons.items())[: self.MAX_NAMED]
        more = len(reasons) - len(named)
        shown = "; ".join([*(f"{name}: {reason}" for name, reason in named), *([f"{more} more"] if more else [])])
        super().__init__(f"{len(reasons)} of {total} workflows could not be applied: {shown}")
        self.results = results


class DeclarationTooLarge(WfmgmtError):
    """A declaration is longer than any needs to be."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(
            f"The declaration is longer than {limit_bytes} bytes; apply it in several, each its own source."
        )
