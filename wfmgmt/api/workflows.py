"""The workflow endpoints: register, describe, list and unregister."""

from contextlib import AbstractContextManager
from dataclasses import replace
from weakref import WeakKeyDictionary

from flask import Blueprint, Response, request

from wfmgmt.api.access import caller
from wfmgmt.api.answers import JSON, json_response
from wfmgmt.api.bodies import Received
from wfmgmt.api.forms import received_form
from wfmgmt.api.operations import operation_answer, operation_path
from wfmgmt.api.parameters import Parameters, list_parameters, state_parameters
from wfmgmt.api.preconditions import etag, later_wait_s, with_etag
from wfmgmt.api.write_rules import REGISTER, UNREGISTER, UNREGISTER_VERSION
from wfmgmt.api.writes import Call, Writes
from wfmgmt.control.messages import NodeFigures, NodeReport, WorkerFigures
from wfmgmt.domain.names import check_may_exist
from wfmgmt.domain.operations import OperationError
from wfmgmt.domain.plans import Plan
from wfmgmt.domain.status import WorkflowState
from wfmgmt.domain.traffic import table_json
from wfmgmt.domain.workflow import SETTINGS, WORKFLOW_SETTINGS, Node
from wfmgmt.errors import BadRequest
from wfmgmt.http.answers import json_body
from wfmgmt.registry.kept_answers import Answer
from wfmgmt.registry.records import Page
from wfmgmt.registry.registry import timestamp
from wfmgmt.services.inspection import InspectedWorkflow, Inspection, ListedWorkflow
from wfmgmt.services.operation_records import Accepted
from wfmgmt.services.preparation import DEFAULT_TIMEOUT_S, RegistrationRequest
from wfmgmt.services.registration import Registration
from wfmgmt.services.registration_queue import RegistrationQueue
from wfmgmt.services.registration_records import Registered
from wfmgmt.services.removal import Removal, Unregistered
from wfmgmt.services.uploads import Uploads


def add_workflow_routes(
    writes: Writes, *, registration: Registration, queue: RegistrationQueue, removal: Removal, uploads: Uploads
) -> None:
    """Add the routes that register and unregister."""

    def receive() -> AbstractContextManager[Received | None]:
        return received_form(request, uploads)

    @writes.route("POST", "/workflows", REGISTER, read=registration_request, render=_registered, receive=receive)
    def register(call: Call) -> Registered | Accepted | OperationError | Plan:
        """Register a version of a workflow from an archive, now or later; archives may come with the request."""
        wanted = replace(call.wanted, attachments=call.files)
        if call.change.dry_run:
            return registration.plan(wanted, call.change)
        wait_s = later_wait_s(request, call.parameters)
        if wait_s is None:
            return queue.register(wanted, call.change)
        return queue.result(queue.accept(wanted, call.change), wait_s)

    @writes.route("DELETE", "/workflows/<name>", UNREGISTER, render=_unregistered)
    def unregister(call: Call, name: str) -> Unregistered | Plan:
        """Unregister one workflow with all its versions."""
        if call.change.dry_run:
            return removal.plan(name, None, call.change)
        return removal.unregister(name, call.change)

    @writes.route("DELETE", "/workflows/<workflow:name>/<version:version>", UNREGISTER_VERSION, render=_unregistered)
    def unregister_version(call: Call, name: str, version: str) -> Unregistered | Plan:
        """Unregister one version of a workflow."""
        if call.change.dry_run:
            return removal.plan(name, version, call.change)
        return removal.unregister_version(name, version, call.change)


def add_workflow_views(blueprint: Blueprint, *, inspection: Inspection) -> None:
    """Add the routes that show workflows to a blueprint."""

    @blueprint.get("/workflows")
    @blueprint.get("/models", endpoint="list_models")
    def list_workflows() -> Response:
        """List workflows in name order."""
        scope = caller().scope
        limit, offset, after = list_parameters(request.args)
        states, name, node_name = state_parameters(request.args)
        if states:
            patterns = {"name": name, "node_name": node_name}
            found, more = inspection.listed(states, **patterns, limit=limit, offset=offset, scope=scope)
            next_page = {"nextPageToken": str(offset + limit)} if more else {}
            return json_response({**next_page, "workflows": [_listed(each) for each in found]})
        if after is None:
            page = inspection.page(limit=limit, offset=offset, scope=scope)
            return _page(page, nextPageToken=str(offset + limit))
        page = inspection.page_after(after, limit=limit, scope=scope)
        return _page(page, nextAfter=page.workflows[-1][0] if page.more else "")

    @blueprint.get("/workflows/<name>")
    @blueprint.get("/workflows/<workflow:name>/<version:version>", endpoint="describe_version")
    def describe(name: str, version: str | None = None) -> Response:
        """Describe one version of a workflow, its default one unless named."""
        check_may_exist(name)
        inspected = inspection.describe(name, version)
        return with_etag(request, Response(_detail_body(inspected), mimetype=JSON), inspected.workflow.key.revision)

    @blueprint.get("/workflows/<workflow:name>/all")
    def describe_all(name: str) -> Response:
        """Describe all versions of a workflow."""
        inspected = inspection.describe_all(name)
        answer = json_response([_detail(each) for each in inspected])
        return with_etag(request, answer, inspected[0].workflow.key.revision)


def registration_request(parameters: Parameters) -> RegistrationRequest:
    """Return what a POST asks for.

    Raises:
        BadRequest: A parameter is missing or wrong.
    """
    parameters.flag("synchronous")
    parameters.flag("s3_sse_kms")
    url = parameters.text("url").strip()
    if not url:
        raise BadRequest("Parameter url is required.")
    return RegistrationRequest(
        url=url,
        workflow_name=parameters.text("workflow_name") or None,
        version=parameters.text("version") or None,
        set_default=parameters.flag("set_default") or False,
        response_timeout_s=parameters.integer("response_timeout") or DEFAULT_TIMEOUT_S,
        startup_timeout_s=parameters.integer("startup_timeout") or DEFAULT_TIMEOUT_S,
    )


def _registered(registered: Registered | Accepted | OperationError) -> Answer:
    """Return the answer to a registration, in TorchServe's words when no version was asked for."""
    if isinstance(registered, Accepted | OperationError):
        return operation_answer(registered, "Processing the registration...")
    what = f"{registered.name} version {registered.version}" if registered.is_further else registered.name
    body: dict[str, object] = {"status": f"Workflow {what} has been registered and scaled successfully."}
    headers = {"ETag": etag(registered.revision)}
    if registered.is_named:
        body |= {"version": registered.version, "default": registered.is_default}
        headers["Location"] = f"/workflows/{registered.name}/{registered.version}"
    if registered.warnings:
        body["warnings"] = list(registered.warnings)
    return Answer(body=json_body(body), headers=headers)


def _unregistered(unregistered: Unregistered) -> Answer:
    headers = {} if unregistered.revision is None else {"ETag": etag(unregistered.revision)}
    return Answer(body=json_body({"status": f'Workflow "{unregistered.name}" unregistered'}), headers=headers)


def _page(page: Page, **next_page: str) -> Response:
    """Return the answer to list: the way to the next page first, when there is one."""
    workflows = [{"workflowName": name, "workflowUrl": url} for name, url in page.workflows]
    return json_response({**(next_page if page.more else {}), "workflows": workflows})


def _listed(listed: ListedWorkflow) -> dict[str, str]:
    """Return a line of a list by states."""
    version, state = listed
    operation = {"operation": operation_path(version.uid)} if state is WorkflowState.REGISTERING else {}
    return {
        "workflowName": version.name,
        "workflowUrl": version.url,
        "version": version.version,
        "state": state.value,
        **operation,
    }


#: The JSON of workflows, for as long as they are remembered themselves.
_bodies: WeakKeyDictionary[InspectedWorkflow, bytes] = WeakKeyDictionary()


def _detail_body(inspected: InspectedWorkflow) -> bytes:
    """Return the details of one workflow as JSON."""
    body = _bodies.get(inspected)
    if body is None:
        body = _bodies[inspected] = json_body([_detail(inspected)])
    return body


def _detail(inspected: InspectedWorkflow) -> dict[str, object]:
    workflow, report = inspected.workflow, inspected.report
    defaults = workflow.defaults.by_api_name()
    reports = report.nodes if report is not None else {}
    failures = report.failures if report is not None else {}
    figures = inspected.figures.nodes if inspected.figures is not None else {}
    models = workflow.models
    return {
        "workflowName": workflow.name,
        "workflowUrl": workflow.url,
        **{name: defaults[name] for name in WORKFLOW_SETTINGS},
        "workflowDag": workflow.dag,
        "nodes": [
            {
                **_node_detail(
                    node,
                    reports.get(node.name, NodeReport(kind=node.kind)),
                    failures.get(node.name),
                    threads=inspected.threads.of(node),
                ),
                **_measured(figures.get(node.name)),
                "storeFile": None if node.name not in models else inspected.store_files.get(models[node.name]),
            }
            for node in workflow.nodes
        ],
        "registeredAt": workflow.registered_at,
        "archiveSha256": workflow.archive.sha256,
        "version": workflow.version,
        "default": workflow.is_default,
        "revision": workflow.key.revision,
        "release": workflow.release.number,
        "routes": table_json(workflow.release.table)["routes"],
        "state": inspected.state.value,
        "storeFile": inspected.store_files.get(workflow.archive),
    }


def _node_detail(node: Node, report: NodeReport, failure: str | None, *, threads: int | None) -> dict[str, object]:
    return {
        "name": node.name,
        "kind": node.kind.value,
        "url": node.model_url,
        "digest": node.model_sha256,
        **node.settings.by_api_name(),
        "readyWorkers": report.ready,
        "error": failure or report.error,
        "overridden": [setting.api_name for setting in SETTINGS if setting.field in node.overridden],
        "threads": threads,
    }


def _measured(figures: NodeFigures | None) -> dict[str, object]:
    """Return what was measured of a node: nothing while it is not loaded, or the runtime does not answer."""
    traffic = None if figures is None else figures.traffic
    return {
        "workers": [] if figures is None else [_worker(worker) for worker in figures.workers],
        "requests": None if traffic is None else traffic.requests,
        "failures": None if traffic is None else traffic.failures,
        "queued": None if figures is None else figures.queued,
        "p50Ms": None if traffic is None else traffic.p50_ms,
        "p99Ms": None if traffic is None else traffic.p99_ms,
    }


def _worker(worker: WorkerFigures) -> dict[str, object]:
    return {
        "pid": worker.pid,
        "startedAt": timestamp(worker.started_at),
        "pssBytes": worker.pss_bytes,
        "threads": worker.threads,
    }
