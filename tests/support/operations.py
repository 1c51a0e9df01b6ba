"""Operations of tests: their values, and what records them."""

import uuid
from pathlib import Path
from typing import Any

from wfmgmt.control.client import RuntimeClient
from wfmgmt.control.status_cache import StatusCache
from wfmgmt.domain.audit import Origin
from wfmgmt.domain.operations import NewOperation, OperationKind
from wfmgmt.registry.registry import Registry
from wfmgmt.services.leases import Leases
from wfmgmt.services.long_requests import LongRequests
from wfmgmt.services.operations import EndCounter, Operations


def make_operation(workflow: str = "seq", **overrides: Any) -> NewOperation:
    """Return a registration that is accepted."""
    values: dict[str, Any] = {
        "uid": uuid.uuid4().hex,
        "key": f"workflow {workflow} 1.0",
        "kind": OperationKind.REGISTER,
        "workflow": workflow,
        "version": "1.0",
        "url": f"{workflow}.war",
        "request": {"url": f"{workflow}.war"},
        "origin": Origin(actor="anonymous", address="127.0.0.1", request_id="r1"),
    }
    return NewOperation(**{**values, **overrides})


def make_operations(
    registry: Registry,
    leases: Leases,
    long_requests: LongRequests | None = None,
    *,
    status: StatusCache | None = None,
    on_ended: EndCounter = lambda *_: None,
) -> Operations:
    """Return what records operations, without a runtime unless its status is given."""
    return Operations(
        registry=registry,
        leases=leases,
        status=status or StatusCache(RuntimeClient(Path("nothing.sock"))),
        long_requests=long_requests or LongRequests(1, waits=1),
        kept=100,
        on_ended=on_ended,
    )
