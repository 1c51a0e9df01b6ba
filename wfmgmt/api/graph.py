"""The endpoints that draw the graph of a version of a workflow."""

from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response, request

from wfmgmt.api.openapi_parts import VERSION_IN_PATH
from wfmgmt.api.parameters import query_parameters
from wfmgmt.api.preconditions import with_etag
from wfmgmt.domain.graphs.drawings import Drawings, GraphFormat
from wfmgmt.domain.graphs.graph import Graph
from wfmgmt.http.openapi import NAME_IN_PATH, answer, errors
from wfmgmt.registry.records import WorkflowDetail
from wfmgmt.services.inspection import Inspection

_MEDIA_TYPES = {
    GraphFormat.SVG: "image/svg+xml",
    GraphFormat.DOT: "text/vnd.graphviz",
    GraphFormat.MERMAID: "text/plain",
    GraphFormat.TEXT: "text/plain",
}
#: A browser that opens the drawing runs nothing of it, and fetches nothing for it.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
}
_QUERY = {
    "format": {"type": "string", "enum": [each.value for each in GraphFormat], "default": GraphFormat.SVG.value},
}
_FORMAT = {"name": "format", "in": "query", "allowEmptyValue": True, "schema": _QUERY["format"]}
_ETAG = {"ETag": {"description": "The digest of the drawing, for `If-None-Match`", "schema": {"type": "string"}}}
_IF_NONE_MATCH = {"name": "If-None-Match", "in": "header", "schema": {"type": "string"}}


def _operation(operation: str, what: str) -> dict[str, Any]:
    content = {kind: {"schema": {"type": "string"}} for kind in dict.fromkeys(_MEDIA_TYPES.values())}
    drawn = answer("The drawing", content, **_ETAG)
    return {
        "operationId": operation,
        "summary": f"Draw the graph of {what}",
        "parameters": [_FORMAT, _IF_NONE_MATCH],
        "responses": {
            "200": drawn,
            "304": {"description": "The client has it already", "headers": drawn["headers"]},
            **errors(HTTPStatus.NOT_FOUND),
        },
    }


GRAPH_PATHS: dict[str, Any] = {
    "/workflows/{name}/graph": {
        "parameters": [NAME_IN_PATH],
        "get": _operation("drawGraph", "the default version"),
    },
    "/workflows/{name}/{version}/graph": {
        "parameters": [NAME_IN_PATH, VERSION_IN_PATH],
        "get": _operation("drawGraphOfVersion", "a version"),
    },
}


def add_graph_views(blueprint: Blueprint, *, inspection: Inspection) -> None:
    """Add the routes to a blueprint."""
    drawings = Drawings()

    @blueprint.get("/workflows/<workflow:name>/graph")
    @blueprint.get("/workflows/<workflow:name>/<version:version>/graph", endpoint="graph_of_version")
    def graph(name: str, version: str | None = None) -> Response:
        """Draw the graph of one version of a workflow, its default one unless named."""
        kind = GraphFormat(query_parameters(request, _QUERY).text("format") or GraphFormat.SVG)
        return drawing_answer(drawings, inspection.describe(name, version).workflow, kind)


def drawing_answer(drawings: Drawings, workflow: WorkflowDetail, kind: GraphFormat) -> Response:
    """Return the answer with a drawing of a version."""
    body, digest = drawings.draw(_graph(workflow), kind)
    drawn = Response(body, content_type=f"{_MEDIA_TYPES[kind]}; charset=utf-8", headers=_HEADERS)
    return with_etag(request, drawn, digest)


def _graph(workflow: WorkflowDetail) -> Graph:
    return Graph(
        title=f"{workflow.name} {workflow.version}",
        nodes=tuple((node.name, node.kind) for node in workflow.nodes),
        edges=workflow.edges,
    )
