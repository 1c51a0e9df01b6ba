"""The workflow endpoints: register, describe, list and unregister."""

from functools import lru_cache

from flask import Blueprint, Response, g, request

from wfmgmt.api.parameters import list_parameters, registration_request
from wfmgmt.control.messages import NodeReport
from wfmgmt.domain.audit import ANONYMOUS, Origin
from wfmgmt.domain.workflow import WORKFLOW_SETTINGS, Node
from wfmgmt.errors import BadRequest
from wfmgmt.http.answers import json_body
from wfmgmt.registry.records import Page
from wfmgmt.services.inspection import REMEMBERED, InspectedWorkflow, Inspection
from wfmgmt.services.registration import Registration
from wfmgmt.services.removal import Removal


def workflows_blueprint(*, registration: Registration, removal: Removal, inspection: Inspection) -> Blueprint:
    """Return the blueprint over these use cases."""
    blueprint = Blueprint("workflows", __name__)

    @blueprint.post("/workflows")
    def register() -> Response:
        """Register a workflow from an archive."""
        try:
            wanted = registration_request(request)
        except BadRequest as error:
            registration.refuse(error, _origin())
            raise
        registered = registration.register(wanted, _origin())
        answer: dict[str, object] = {
            "status": f"Workflow {registered.name} has been registered and scaled successfully."
        }
        if registered.warnings:
            answer["warnings"] = list(registered.warnings)
        return _json(json_body(answer))

    @blueprint.get("/workflows")
    @blueprint.get("/models", endpoint="list_models")
    def list_workflows() -> Response:
        """List workflows in name order."""
        limit, offset, after = list_parameters(request.args)
        if after is None:
            page = inspection.page(limit=limit, offset=offset)
            return _page(page, nextPageToken=str(offset + limit))
        page = inspection.page_after(after, limit=limit)
        return _page(page, nextAfter=page.workflows[-1][0] if page.more else "")

    @blueprint.get("/workflows/<name>")
    def describe(name: str) -> Response:
        """Describe one workflow."""
        return _json(detail_body(inspection.describe(name)))

    @blueprint.delete("/workflows/<name>")
    def unregister(name: str) -> Response:
        """Unregister one workflow."""
        removal.unregister(name, _origin())
        return _json(json_body({"status": f'Workflow "{name}" unregistered'}))

    return blueprint


def _json(body: bytes) -> Response:
    return Response(body, mimetype="application/json")


def _origin() -> Origin:
    return Origin(actor=ANONYMOUS, address=request.remote_addr or "", request_id=g.request_id)


def _page(page: Page, **next_page: str) -> Response:
    """Return the answer to list: the way to the next page first, when there is one."""
    workflows = [{"workflowName": name, "workflowUrl": url} for name, url in page.workflows]
    return _json(json_body({**(next_page if page.more else {}), "workflows": workflows}))


@lru_cache(maxsize=REMEMBERED)
def detail_body(inspected: InspectedWorkflow) -> bytes:
    """Return the details of one workflow as JSON."""
    return json_body([_detail(inspected)])


def _detail(inspected: InspectedWorkflow) -> dict[str, object]:
    workflow, report = inspected.workflow, inspected.report
    defaults = workflow.defaults.by_api_name()
    reports = report.nodes if report is not None else {}
    failures = report.failures if report is not None else {}
    return {
        "workflowName": workflow.name,
        "workflowUrl": workflow.url,
        **{name: defaults[name] for name in WORKFLOW_SETTINGS},
        "workflowDag": workflow.dag,
        "nodes": [
            _node_detail(node, reports.get(node.name, NodeReport(kind=node.kind)), failures.get(node.name))
            for node in workflow.nodes
        ],
        "registeredAt": workflow.registered_at,
        "archiveSha256": workflow.archive_sha256,
    }


def _node_detail(node: Node, report: NodeReport, failure: str | None) -> dict[str, object]:
    return {
        "name": node.name,
        "kind": node.kind.value,
        "url": node.model_url,
        "digest": node.model_sha256,
        **node.settings.by_api_name(),
        "readyWorkers": report.ready,
        "error": failure or report.error,
    }
