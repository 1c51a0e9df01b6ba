"""Where the parts meet: the management application and the runtime, each built from the settings."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import uvloop
from flask import Flask

from wfmgmt.api.application import make_app
from wfmgmt.api.metrics import Metrics, shared_folder
from wfmgmt.api.operations import operations_blueprint
from wfmgmt.api.workflows import workflows_blueprint
from wfmgmt.archives.fetching import Fetcher
from wfmgmt.archives.manifest import ModelArchive, read_mar
from wfmgmt.archives.reading import open_archive, sha256_of
from wfmgmt.archives.stores import ArchiveFolder
from wfmgmt.domain.limits import MIB, Limits
from wfmgmt.domain.status import WorkflowStatus
from wfmgmt.domain.workflow import Deployment
from wfmgmt.errors import SettingsInvalid
from wfmgmt.services.archives import StoreFolders
from wfmgmt.services.inspection import Inspection
from wfmgmt.services.leases import Leases
from wfmgmt.services.registration import Registration
from wfmgmt.services.removal import Removal
from wfmgmt.services.takeover import Takeover
from wfmgmt.serving.client import RuntimeClient
from wfmgmt.serving.measurements import Measurements
from wfmgmt.serving.models.local.accelerators import count_accelerators
from wfmgmt.serving.models.local.launcher import Forkserver, Surroundings
from wfmgmt.serving.models.local.pool import PoolSettings
from wfmgmt.serving.models.local.server import LocalFunctions, LocalModelServer, LocalParts
from wfmgmt.serving.predictions import PredictionLimits
from wfmgmt.serving.process import serve
from wfmgmt.serving.runtime import Runtime
from wfmgmt.serving.view import RuntimeView
from wfmgmt.settings import Settings, worker_environment
from wfmgmt.store.store import Store


class Services:
    """The use cases of the management plane, over one database and one runtime.

    Args:
        settings: The settings in force.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = Store(settings.database_url, connections=settings.web_threads + 2)
        self.leases = Leases(settings.run_folder / "leases")
        self.runtime = RuntimeClient(settings.control_socket, drain_timeout_s=settings.drain_timeout_s)
        self.view = RuntimeView(RuntimeClient(settings.control_socket))
        folders = StoreFolders(
            workflow=ArchiveFolder(folder=settings.workflow_store, suffix=".war"),
            model=ArchiveFolder(folder=settings.model_store, suffix=".mar"),
        )
        self.inspection = Inspection(store=self.store, view=self.view)
        self.removal = Removal(store=self.store, folders=folders, runtime=self.runtime, leases=self.leases)
        self.registration = Registration(
            store=self.store,
            folders=folders,
            fetcher=Fetcher(
                allowed_urls=settings.allowed_urls,
                timeout_s=settings.download_timeout_s,
                limit_bytes=settings.download_limit_mb * MIB,
            ),
            runtime=self.runtime,
            removal=self.removal,
            leases=self.leases,
            limits=settings.limits,
            slots=settings.concurrent_registrations,
        )
        self.takeover = Takeover(
            store=self.store,
            folders=folders,
            runtime=self.runtime,
            registration=self.registration,
            leases=self.leases,
            limits=settings.limits,
        )


def create_app(settings: Settings | None = None) -> Flask:
    """Return the management application.

    It opens neither the database nor the runtime's socket before the first request, so it can be made anywhere; the
    deployment (`gunicorn.conf.py`) is what prepares both.

    Args:
        settings: The settings in force; read from the environment unless given.

    Raises:
        SettingsInvalid: A setting is unknown or has a wrong value.
    """
    settings = settings or Settings.load()
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
    return app


class StoreCatalog:
    """What the runtime reads from the database; satisfies `wfmgmt.serving.runtime.Catalog`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def uids(self) -> Mapping[str, WorkflowStatus]:
        """Return every registration, finished or not."""
        with self._store.read() as reader:
            return reader.uids()

    def deployments(self, uids: list[str]) -> Iterable[Deployment]:
        """Return what is needed to load these."""
        with self._store.read() as reader:
            return list(reader.deployments(uids))


@asynccontextmanager
async def create_runtime(settings: Settings) -> AsyncIterator[Runtime]:
    """Give the runtime, with worker processes of this machine as its model server; end them all at the end."""
    environment = worker_environment(settings)
    forkserver = Forkserver(
        Surroundings(
            environment=environment,
            preload=settings.preload,
            memory_bytes=None if settings.worker_memory_mb is None else settings.worker_memory_mb * MIB,
        )
    )
    store = Store(settings.database_url, connections=2)
    measurements = Measurements()
    runtime: Runtime

    def on_change(key: str) -> None:
        runtime.node_changed(key)

    def unpack_model(archive: Path, folder: Path) -> ModelArchive:
        manifest = read_mar(archive, settings.limits)
        _unpack(archive, folder, settings.limits)
        return manifest

    parts = LocalParts(
        forkserver=forkserver,
        folder=settings.run_folder / "unpacked",
        digest=sha256_of,
        on_change=on_change,
        pool_settings=PoolSettings(
            queue_size=settings.queue_size,
            idle_timeout_s=settings.idle_timeout_s,
            on_measurements=measurements.note_handler,
        ),
        answer_bytes=settings.response_limit_bytes,
        accelerators=count_accelerators(visible=environment.get("CUDA_VISIBLE_DEVICES")),
    )
    runtime = Runtime(
        models=LocalModelServer(parts, unpack=unpack_model),
        functions=LocalFunctions(parts, unpack=lambda archive, folder: _unpack(archive, folder, settings.limits)),
        catalog=StoreCatalog(store),
        workflow_store=settings.workflow_store,
        model_store=settings.model_store,
        measurements=measurements,
        limits=PredictionLimits(
            requests=settings.requests,
            held_bytes=settings.held_mb * MIB,
            request_bytes=settings.request_limit_bytes,
            drain_timeout_s=settings.drain_timeout_s,
        ),
    )
    try:
        yield runtime
    finally:
        await runtime.close()
        await forkserver.close()
        store.close()


def _unpack(archive: Path, folder: Path, limits: Limits) -> None:
    with open_archive(archive, limits) as reader:
        reader.unpack(folder)


def run_runtime(settings: Settings, *, inference_socket: socket.socket, lifeline: int | None) -> None:
    """Run the runtime process until it is told to stop; see `wfmgmt.serving.process.serve`."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(
            serve(
                lambda: create_runtime(settings),
                control_socket=settings.control_socket,
                inference_socket=inference_socket,
                lifeline=lifeline,
            )
        )


def listen(settings_name: str, host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address.

    Raises:
        SettingsInvalid: The address cannot be listened on; the text names the setting.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
            sock.listen(1024)
        except OSError:
            sock.close()
            raise
    except OSError as error:
        raise SettingsInvalid(f"{settings_name}: cannot listen on {host}:{port}: {error.strerror}") from error
    return sock
