"""One line of the log for each change: what was done or refused, by whom and why."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from wfmgmt.domain.audit import AuditAction, AuditEvent, AuditOutcome, bounded
from wfmgmt.domain.releases import FIRST_VERSION

#: Settings of nodes that one line names.
MAX_SETTINGS = 10
_DONE = {
    AuditAction.REGISTER: "registered",
    AuditAction.UNREGISTER: "unregistered",
    AuditAction.REGISTER_VERSION: "version registered",
    AuditAction.UNREGISTER_VERSION: "version unregistered",
    AuditAction.SET_DEFAULT: "released",
    AuditAction.TRAFFIC: "released",
    AuditAction.ROLLBACK: "released",
    AuditAction.ROLLOUT: "released",
    AuditAction.GUARD: "released",
    AuditAction.SCALE: "scaled",
    AuditAction.UPDATE: "node changed",
    AuditAction.RESET: "node reset",
    AuditAction.UPLOAD: "uploaded",
    AuditAction.CANCEL: "cancelled",
    AuditAction.REMOVE_ARCHIVE: "archive removed",
    AuditAction.ARCHIVE: "audit trail archived",
}

_log = logging.getLogger("wfmgmt.change")


def log_change(event: AuditEvent) -> None:
    """Log a change that was recorded. Repairs have lines of their own, from those who make them."""
    if event.action is AuditAction.RECONCILE:
        return
    origin, action = event.origin, event.action
    detail: Any = bounded(event.detail)
    by = f"by {origin.actor} from {origin.address}" if origin.address else f"by {origin.actor}"
    if event.outcome is AuditOutcome.FAILED:
        error = detail.get("error", {})
        message = f"failed: {action} {by}: {error.get('type')}: {error.get('message')}"
    else:
        facts = ", ".join(_facts(action, detail))
        message = f"{_DONE.get(action, action)} {by}" + (f": {facts}" if facts else "")
    first = FIRST_VERSION if action is AuditAction.REGISTER and event.workflow else None
    if reason := detail.get("reason"):
        message += f"; reason: {reason}"
    _log.log(
        logging.WARNING if action is AuditAction.GUARD else logging.INFO,
        "%s",
        message,
        extra={
            "request_id": origin.request_id,
            "workflow": event.workflow,
            "version": detail.get("version", first),
            "actor": origin.actor,
            "action": action.value,
            "client": origin.address,
        },
    )


def _facts(action: AuditAction, detail: Mapping[str, Any]) -> Iterator[str]:
    """Yield what was changed."""
    if (url := detail.get("url")) is not None:
        yield url
    if (file := detail.get("file")) is not None:
        yield file
        yield f"{file} ({detail.get('bytes')} bytes) into the {detail.get('store')} store"
    if (segment := detail.get("segment")) is not None:
        yield f"rows {segment['first']} to {segment['last']} in {segment['file']}"
    if (release := detail.get("release")) is not None:
        yield f"release {release} ({action})"
    if (after := detail.get("after")) is not None:
        yield " ".join(f"{route['version']}={route['weight']}%" for route in after.get("routes", ()))
        if (mirror := after.get("mirror")) is not None:
            yield f"mirror {mirror['version']}={mirror['percent']}%"
    if (versions := detail.get("versions")) is not None:
        yield f"versions {' '.join(versions)}"
    changes = detail.get("changes", ())
    for change in changes[:MAX_SETTINGS]:
        yield f"{change['path'].removeprefix('nodes.')} {change['before']} -> {change['after']}"
    if len(changes) > MAX_SETTINGS:
        yield f"{len(changes) - MAX_SETTINGS} more"
