"""The listing side of a TorchServe: what it answers about workflows that exist in a test only."""

import json
import re
import socket
from collections.abc import Mapping
from urllib.parse import unquote

from tests.support.scripted_server import Behaviour, ScriptedServer, answer

KEY_REFUSED = {
    "code": 400,
    "type": "InvalidKeyException",
    "message": "Token Authorization failed. Token either incorrect, expired, or not provided correctly",
}
FIGURES: dict[str, object] = {"minWorkers": 1, "maxWorkers": 1, "batchSize": 1, "maxBatchDelay": 50}


def json_answer(document: object, status: str = "200 OK") -> Behaviour:
    """Make a behaviour that answers with JSON."""
    return answer(json.dumps(document, indent=2).encode() + b"\n", "Content-Type: application/json", status=status)


def listing(
    urls: Mapping[str, str],
    *,
    figures: Mapping[str, Mapping[str, object]] | None = None,
    key: str | None = None,
    page_size: int = 100,
) -> Behaviour:
    """Make a behaviour that lists and describes workflows as TorchServe 0.12.0 does.

    Args:
        urls: Workflow name to url.
        figures: Workflow name to what its description says other than `FIGURES`.
        key: What requests have to bring; None when it wants none.
        page_size: Workflows on one page at most.
    """

    def behave(connection: socket.socket, server: ScriptedServer) -> None:
        head = server.requests[-1]
        path = head.split()[1]
        if key is not None and f"\r\nAuthorization: Bearer {key}\r\n" not in head:
            json_answer(KEY_REFUSED, "400 Bad Request")(connection, server)
        elif found := re.fullmatch(r"/workflows\?limit=(\d+)&next_page_token=(\d+)", path):
            json_answer(_page(urls, min(int(found[1]), page_size), int(found[2])))(connection, server)
        else:
            _describe(unquote(path).removeprefix("/workflows/"), urls, figures or {})(connection, server)

    return behave


def _page(urls: Mapping[str, str], limit: int, offset: int) -> dict[str, object]:
    lines = [{"workflowName": name, "workflowUrl": url} for name, url in sorted(urls.items())]
    more = {"nextPageToken": str(offset + limit)} if offset + limit < len(lines) else {}
    return {**more, "workflows": lines[offset : offset + limit]}


def _describe(name: str, urls: Mapping[str, str], figures: Mapping[str, Mapping[str, object]]) -> Behaviour:
    if name not in urls:
        error = {"code": 404, "type": "WorkflowNotFoundException", "message": f"Workflow not found: {name}"}
        return json_answer(error, "404 Not Found")
    return json_answer([{"workflowName": name, "workflowUrl": urls[name], **FIGURES, **figures.get(name, {})}])
