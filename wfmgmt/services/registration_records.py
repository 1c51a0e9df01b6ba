"""Registrations as values: the operation that one is, and what came of it."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from wfmgmt.archives.urls import is_remote
from wfmgmt.domain.operations import NewOperation, Operation, OperationKind
from wfmgmt.domain.redaction import redacted_address
from wfmgmt.domain.releases import FIRST_VERSION
from wfmgmt.errors import WorkflowBusy
from wfmgmt.services.changes import Change
from wfmgmt.services.preparation import RegistrationRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """A registration that succeeded.

    Attributes:
        name: Of the workflow.
        version: The version.
        is_named: Whether the client named the version.
        is_further: Whether the workflow was there before.
        is_default: Whether it has the largest share of the requests.
        revision: The workflow's revision.
        warnings: What in the spec has no effect.
    """

    name: str
    version: str = FIRST_VERSION
    is_named: bool = False
    is_further: bool = False
    is_default: bool = True
    revision: int = 1
    warnings: tuple[str, ...] = ()

    @property
    def result(self) -> dict[str, Any]:
        """What an operation keeps of it, as plain JSON."""
        return {
            "version": self.version,
            "default": self.is_default,
            "revision": self.revision,
            "warnings": list(self.warnings),
            "further": self.is_further,
        }

    @classmethod
    def of_operation(cls, operation: Operation, result: Mapping[str, Any]) -> Self:
        """Return the registration of which an operation has kept this."""
        return cls(
            name=operation.workflow,
            version=result["version"],
            is_named=operation.request["version"] is not None,
            is_further=result["further"],
            is_default=result["default"],
            revision=result["revision"],
            warnings=tuple(result["warnings"]),
        )


def new_operation(request: RegistrationRequest, change: Change) -> NewOperation:
    """Return the operation of a registration.

    No two may be at work on one version of a workflow. Without a name in the request, the same local archive means the
    same name.
    """
    version = request.version or FIRST_VERSION
    if request.workflow_name is not None:
        key: str | None = f"workflow {request.workflow_name} {version}"
    else:
        # Escaped, since the url has not been checked yet: a database takes no half of a surrogate pair.
        is_own = is_remote(request.url) or request.attachments is not None
        key = None if is_own else f"archive {request.url!a} {version}"
    url = redacted_address(request.url)
    return NewOperation(
        uid=uuid.uuid4().hex,
        key=key,
        kind=OperationKind.REGISTER,
        workflow=request.workflow_name or "",
        version=version,
        url=url,
        request={**request.facts, "url": url, **change.stated_reason},
        origin=change.origin,
    )


def conflict_with(request: RegistrationRequest) -> WorkflowBusy:
    """Return what a client is answered while another one registers the same."""
    return WorkflowBusy(request.workflow_name or request.url, "being registered")
