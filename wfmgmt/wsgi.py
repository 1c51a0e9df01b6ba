"""The WSGI application of the management plane, built from the settings."""

from functools import partial

from flask import Blueprint, Flask

from wfmgmt.api.access import guard_routes
from wfmgmt.api.application import make_app
from wfmgmt.api.apply import add_apply_routes, declared_blueprint
from wfmgmt.api.archives import add_archive_routes, archives_blueprint
from wfmgmt.api.audit import audit_blueprint
from wfmgmt.api.explain import add_explain_views
from wfmgmt.api.exports import Exports
from wfmgmt.api.graph import add_graph_views
from wfmgmt.api.guard import GuardedApplication, ManagementGuard
from wfmgmt.api.logs import add_log_views
from wfmgmt.api.metrics import (
    Metrics,
    record_checkpoint,
    record_failed_login,
    record_loop_failure,
    record_operation,
    record_upload,
    shared_folder,
)
from wfmgmt.api.monitoring import monitoring_blueprint
from wfmgmt.api.operations import add_operation_routes, operations_blueprint
from wfmgmt.api.releases import add_release_routes, add_release_views
from wfmgmt.api.scaling import add_scaling_routes
from wfmgmt.api.tokens import add_token_routes, tokens_blueprint
from wfmgmt.api.uploads import add_upload_routes
from wfmgmt.api.workflows import add_workflow_routes, add_workflow_views
from wfmgmt.api.writes import Writes
from wfmgmt.http.browser_guard import BrowserGuard
from wfmgmt.management import Services
from wfmgmt.settings import Settings, settings_in_force
from wfmgmt.web.archives import add_archive_pages
from wfmgmt.web.audit import add_audit_pages
from wfmgmt.web.blueprint import web_blueprint
from wfmgmt.web.changes import add_change_pages
from wfmgmt.web.operations import add_operation_pages
from wfmgmt.web.registering import add_register_page
from wfmgmt.web.sign_in import session_caller
from wfmgmt.web.submissions import Submissions
from wfmgmt.web.system import add_system_page
from wfmgmt.web.tokens import add_token_pages
from wfmgmt.web.workflow import add_workflow_pages
from wfmgmt.web.workflows import add_workflows_page


def create_app(settings: Settings | None = None) -> Flask:
    """Return the management application.

    It opens neither the database nor the runtime's socket before the first request, so it can be made anywhere;
    `wfmgmt.deployment` is what prepares both.

    Args:
        settings: The settings in force; read from the environment unless given.

    Raises:
        SettingsInvalid: A setting is unknown or has a wrong value.
    """
    services = Services(
        settings or settings_in_force(),
        on_loop_failure=record_loop_failure,
        on_operation_ended=record_operation,
        on_stored=record_upload,
        on_login_failed=record_failed_login,
        on_checkpoint=record_checkpoint,
    )
    return make_application(services)


def make_application(services: Services) -> Flask:
    """Return the management application over its services."""
    settings = services.settings
    metrics = Metrics(inspection=services.inspection, shared_folder=shared_folder())
    app = make_app(metrics)
    workflows = Blueprint("workflows", __name__)
    writes = Writes(workflows, idempotency=services.idempotency, failures=services.failures)
    add_workflow_routes(
        writes,
        registration=services.registration,
        queue=services.registration_queue,
        removal=services.removal,
        uploads=services.uploads,
    )
    add_upload_routes(writes, uploads=services.uploads)
    add_operation_routes(writes, cancellation=services.cancellation)
    add_archive_routes(writes, archives=services.archive_store)
    add_workflow_views(workflows, inspection=services.inspection)
    add_release_routes(writes, releases=services.releases)
    add_release_views(workflows, inspection=services.inspection)
    add_graph_views(workflows, inspection=services.inspection)
    add_log_views(workflows, inspection=services.inspection)
    add_explain_views(workflows, explaining=services.explaining)
    add_scaling_routes(writes, scaling=services.scaling)
    add_token_routes(writes, tokens=services.tokens)
    add_apply_routes(writes, applying=services.applying)
    app.register_blueprint(workflows)
    app.register_blueprint(archives_blueprint(services.archive_store))
    app.register_blueprint(operations_blueprint(services.operations))
    app.register_blueprint(declared_blueprint(services.applying))
    app.register_blueprint(tokens_blueprint(services.tokens))
    app.register_blueprint(audit_blueprint(services.audit_trail, exports=Exports(services.long_requests.is_stopping)))
    app.register_blueprint(
        monitoring_blueprint(inspection=services.inspection, start=services.start_marker, metrics=metrics)
    )
    pages = web_blueprint(services.sessions)
    add_workflows_page(pages, overview=services.overview)
    add_workflow_pages(
        pages,
        inspection=services.inspection,
        explaining=services.explaining,
        operations=services.operations,
        audit_trail=services.audit_trail,
    )
    submissions = Submissions(pages, failures=services.failures)
    add_operation_pages(pages, submissions, operations=services.operations, cancellation=services.cancellation)
    add_change_pages(
        pages,
        submissions,
        inspection=services.inspection,
        releases=services.releases,
        scaling=services.scaling,
        removal=services.removal,
    )
    add_archive_pages(pages, submissions, archives=services.archive_store)
    add_system_page(pages, inspection=services.inspection, settings=dict(settings))
    add_audit_pages(pages, audit_trail=services.audit_trail)
    add_token_pages(pages, submissions, tokens=services.tokens)
    add_register_page(
        pages,
        submissions,
        registration=services.registration,
        queue=services.registration_queue,
        archives=services.archive_store,
    )
    app.register_blueprint(pages)
    guard_routes(
        app,
        access=services.access,
        has_open_metrics=settings.open_metrics,
        actions={**writes.actions, **submissions.actions},
        failures=services.failures,
        session=partial(session_caller, services.sessions),
    )
    app.extensions["wfmgmt"] = services
    guard = app.extensions["wfmgmt.guard"] = ManagementGuard(
        BrowserGuard(allowed_hosts=settings.known_hosts, cors_origins=settings.cors_origins), metrics
    )
    app.wsgi_app = GuardedApplication(app.wsgi_app, guard, settings.forwarding)  # type: ignore[method-assign]  # Flask's own way
    return app
