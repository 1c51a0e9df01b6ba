"""The WSGI application of the management plane, built from the settings."""

from flask import Flask

from wfmgmt.api.application import make_app
from wfmgmt.api.guard import GuardedApplication, ManagementGuard
from wfmgmt.api.metrics import Metrics, record_loop_failure, shared_folder
from wfmgmt.api.operations import operations_blueprint
from wfmgmt.api.workflows import workflows_blueprint
from wfmgmt.http.browser_guard import BrowserGuard
from wfmgmt.management import Services
from wfmgmt.settings import Settings, settings_in_force


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
    services = Services(settings, on_loop_failure=record_loop_failure)
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
