"""What the service says about an operation, as JSON."""

from typing import Any

ACCEPTED = {"status": "Processing the registration...", "operation": f"/operations/{'a' * 32}"}
OPERATION: dict[str, Any] = {
    "id": "a" * 32,
    "kind": "register",
    "workflow": "seq",
    "version": "1.0",
    "url": "seq.war",
    "state": "running",
    "done": False,
    "phase": "fetching",
    "progress": {"bytes": 3 * 1024**2, "totalBytes": 6 * 1024**2, "nodes": {}},
    "error": None,
    "result": None,
    "actor": "anonymous",
    "requestId": "r1",
    "createdAt": "2026-11-27T06:00:00.000000Z",
    "startedAt": "2026-11-27T06:00:00.000000Z",
    "endedAt": None,
    "cancelledBy": None,
    "receipt": None,
}
LOADING = {
    **OPERATION,
    "phase": "loading",
    "progress": {"bytes": 0, "totalBytes": None, "nodes": {"m": {"ready": 1, "wanted": 2}}},
}
SUCCEEDED = {**OPERATION, "state": "succeeded", "done": True, "endedAt": "2026-11-27T06:00:02.500000Z"}
FAILURE: dict[str, Any] = {"code": 400, "type": "DownloadArchiveException", "message": "Failed to download it"}
FAILED = {**SUCCEEDED, "state": "failed", "error": FAILURE}
