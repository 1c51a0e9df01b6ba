"""The management plane: its services and the Flask application, built from the settings."""

from flask import Flask

from wfmgmt.api.application import make_app
from wfmgmt.api.guard import GuardedApplication, ManagementGuard
from wfmgmt.api.metrics import Metrics, record_loop_failure, shared_folder
from wfmgmt.api.operations import operations_blueprint
from wfmgmt.api.workflows import workflows_blueprint
from wfmgmt.archives.fetching import Fetcher
from wfmgmt.archives.stores import StoreFolders
from wfmgmt.control.client import RuntimeClient
from wfmgmt.control.status_cache import StatusCache
from wfmgmt.domain.limits import MIB
from wfmgmt.http.browser_guard import BrowserGuard
from wfmgmt.registry.registry import Registry
from wfmgmt.services.failure_budget import FailureBudget
from wfmgmt.services.inspection import Inspection
from wfmgmt.services.leases import Leases
from wfmgmt.services.long_requests import LongRequests
from wfmgmt.services.registration import Registration
from wfmgmt.services.removal import Removal
from wfmgmt.settings import Settings, settings_in_force


class Services:
    """The services of the management plane, over one database and one runtime.

    Args:
        settings: The settings in force.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.registry = Registry(settings.database, connections=settings.web_threads + 2)
        self.leases = Leases(settings.run_folder / "leases")
        self.runtime = RuntimeClient(settings.control_socket, drain_timeout_s=settings.drain_timeout_s)
        self.status = StatusCache(RuntimeClient(settings.control_socket), on_failure=record_loop_failure)
        self.folders = StoreFolders.at(workflow=settings.workflow_store, model=settings.model_store)
        self.inspection = Inspection(registry=self.registry, status=self.status)
        self.long_requests = LongRequests(settings.concurrent_registrations)
        self.removal = Removal(
            registry=self.registry,
            folders=self.folders,
            runtime=self.runtime,
            leases=self.leases,
            long_requests=self.long_requests,
            failures=FailureBudget(max(1, settings.max_audited_failures // settings.web_workers)),
        )
        self.registration = Registration(
            registry=self.registry,
            folders=self.folders,
            fetcher=Fetcher(
                allowed_urls=settings.allowed_urls,
                timeout_s=settings.download_timeout_s,
                limit_bytes=settings.download_limit_mb * MIB,
            ),
            runtime=self.runtime,
            removal=self.removal,
            leases=self.leases,
            limits=settings.limits,
            long_requests=self.long_requests,
        )


def create_app(settings: Settings | None = None) -> Flask:
    """Return the management application.

    It opens neither the database nor the runtime's socket before the first request, so it can be made anywhere;
    `wfmgmt.deployment` is what prepares both.

    Args:
        settings: The settings in force; read from the environment unless given.

    Raises:
        SettingsInvalid: A setting is unknown or has a wrong value.
    """
    settings = settings or settings_in_force()
    services = Services(settings)
    metrics = Metrics(inspection=services.inspection, shared_folder=shared_folder())
    app = make_app(metrics)
    app.register_blueprint(
        workflows_blueprint(
            registration=services.registration, removal=services.removal, inspection=services.inspection
        )
    )
    app.register_blueprint(operations_blueprint(inspection=services.inspection, metrics=metrics))
    app.extensions["wfmgmt"] = services
    guard = app.extensions["wfmgmt.guard"] = ManagementGuard(
        BrowserGuard(allowed_hosts=settings.known_hosts, cors_origins=settings.cors_origins), metrics
    )
    app.wsgi_app = GuardedApplication(app.wsgi_app, guard)  # type: ignore[method-assign]  # Flask's own way
    return app
