"""Where models and functions run, built from the settings."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from wfmgmt.archives.kept import RUNTIME, KeptArchives
from wfmgmt.archives.manifest import read_mar, unpacked_model
from wfmgmt.archives.reading import sha256_of, unpack_archive
from wfmgmt.domain.limits import MIB
from wfmgmt.domain.workflow import NodeKind
from wfmgmt.host import available_cores
from wfmgmt.serving.measurements import Measurements
from wfmgmt.serving.models.autoscaling import AutoscaleMode, Autoscaling
from wfmgmt.serving.models.local.accelerators import Accelerators, visible_devices
from wfmgmt.serving.models.local.budget import WorkerBudget
from wfmgmt.serving.models.local.core_use import CoreUse
from wfmgmt.serving.models.local.environments import Environments, environment_of
from wfmgmt.serving.models.local.forkserver_client import ForkserverClient, WorkerEnvironment
from wfmgmt.serving.models.local.installer import Installer
from wfmgmt.serving.models.local.model import LocalParts
from wfmgmt.serving.models.local.pool import PoolSettings
from wfmgmt.serving.models.local.server import LocalModelServer
from wfmgmt.serving.models.local.trees import ArchiveKind
from wfmgmt.serving.models.protocol import ModelServer
from wfmgmt.serving.models.torchserve.server import TorchServeModelServer, TorchServeSettings
from wfmgmt.settings import Settings, thread_policy, worker_environment
from wfmgmt.torchserve.connection import ServerAddress
from wfmgmt.torchserve.keys import Keys


@dataclass(frozen=True, slots=True)
class WorkerSources:
    """Where workers come from.

    Attributes:
        forkserver: Has them forked from the service's own interpreter.
        environments: Have other interpreters, with the libraries that archives list.
    """

    forkserver: ForkserverClient
    environments: Environments

    async def close(self) -> None:
        """End all processes. Idempotent."""
        await asyncio.gather(self.forkserver.close(), self.environments.close())


def make_worker_sources(settings: Settings, measurements: Measurements, worker_umask: int | None) -> WorkerSources:
    """Return where workers come from: forkservers, each of which starts with its first worker.

    Args:
        settings: The settings in force.
        measurements: Where to count lines of handlers that were not logged.
        worker_umask: The umask of workers, this process's own when None.
    """
    variables = worker_environment(settings)
    own = WorkerEnvironment(
        environment=variables,
        preload=settings.preload,
        memory_bytes=None if settings.worker_memory_mb is None else settings.worker_memory_mb * MIB,
        log_level=settings.log_level,
        umask=worker_umask,
        instance=str(settings.instance),
    )
    return WorkerSources(
        ForkserverClient(own, on_dropped=measurements.record_dropped),
        Environments(
            settings.environments_folder,
            installer=Installer(variables, settings.requirements_timeout_s),
            make_forkserver=lambda folder: ForkserverClient(
                environment_of(folder, own), on_dropped=measurements.record_dropped
            ),
            keep_s=settings.environments_keep_s,
        ),
    )


def make_model_servers(
    settings: Settings, identity: Callable[[], str], sources: WorkerSources, measurements: Measurements
) -> Mapping[NodeKind, ModelServer]:
    """Return where nodes of each kind run.

    Args:
        settings: The settings in force.
        identity: Returns the identity of this installation; called only where it is needed.
        sources: Where workers come from; they stay the caller's to close.
        measurements: Where to count what handlers measure.
    """
    cores = available_cores()
    autoscaling = Autoscaling(mode=AutoscaleMode(settings.autoscale), on_scaled=measurements.record_scaling)
    kept = KeptArchives(settings.archives_folder, keeps_bytes=settings.keep_archives == "all", owner=RUNTIME)
    parts = LocalParts(
        forkserver=sources.forkserver,
        folder=settings.run_folder,
        kept=kept,
        pool_settings=PoolSettings(
            queue_size=settings.queue_size,
            idle_timeout_s=settings.idle_timeout_s,
            on_measurements=measurements.record_handler,
            budget=WorkerBudget(settings.max_workers),
            autoscaling=autoscaling,
            core_use=CoreUse(cores),
        ),
        answer_bytes=settings.response_limit_bytes,
        threads=thread_policy(settings, cores),
        model_requirements=settings.model_requirements,
        environments=sources.environments if settings.model_requirements == "install" else None,
    )
    models: ModelServer
    if settings.model_server == "torchserve":
        torchserve = replace(_torchserve_settings(settings, identity()), autoscaling=autoscaling)
        models = TorchServeModelServer(torchserve, kept=kept, digest=sha256_of)
    else:
        devices = visible_devices(visible=worker_environment(settings).get("CUDA_VISIBLE_DEVICES"))
        models = LocalModelServer(
            replace(parts, accelerators=Accelerators(devices)),
            ArchiveKind(
                name="Model",
                unpack=lambda content, folder: read_mar(content, settings.limits, folder),
                describe=unpacked_model,
            ),
        )
    functions = LocalModelServer(
        parts,
        ArchiveKind(
            name="Workflow archive",
            unpack=partial(unpack_archive, limits=settings.limits),
            describe=lambda _: None,
        ),
    )
    return {NodeKind.MODEL: models, NodeKind.FUNCTION: functions}


def _torchserve_settings(settings: Settings, identity: str) -> TorchServeSettings:
    secrets = {"management": settings.torchserve_management_key, "inference": settings.torchserve_inference_key}
    fixed = {kind: key.get_secret_value() for kind, key in secrets.items() if key is not None}
    count = len(settings.torchserve_management_urls)
    files = (settings.torchserve_key_files or (None,)) * count
    return TorchServeSettings(
        servers=tuple(
            ServerAddress(management_url=management, inference_url=inference, keys=Keys(file, fixed))
            for management, inference, file in zip(
                settings.torchserve_management_urls, settings.torchserve_inference_urls, files[:count], strict=True
            )
        ),
        model_store=settings.model_store,
        identity=identity,
        ca_bundle=settings.torchserve_ca_bundle,
        connect_timeout_s=settings.torchserve_connect_timeout_s,
        timeout_s=settings.torchserve_timeout_s,
        queue_size=settings.queue_size,
        idle_timeout_s=settings.idle_timeout_s,
        answer_bytes=settings.response_limit_bytes,
    )
