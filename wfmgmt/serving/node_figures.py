"""What is shown of the nodes of one loaded version: requests of the last minute, queue, workers."""

from collections.abc import Callable, Mapping

from wfmgmt.control.messages import NodeFigures, TrafficFigures, WorkerFigures
from wfmgmt.serving.models.base import WorkerFacts, WorkerUsage
from wfmgmt.serving.models.protocol import LoadedModel
from wfmgmt.serving.worker_usage import Usages


def figures_of_nodes(
    models: Mapping[str, LoadedModel], traffic: Callable[[str], TrafficFigures], usages: Usages
) -> Mapping[str, NodeFigures]:
    """Return the figures of each node.

    Args:
        models: The nodes as they are loaded, by name.
        traffic: Returns the attempts of the last minute to have a node answer.
        usages: What workers take, as far as it was read.
    """
    return {
        name: NodeFigures(
            traffic=traffic(name),
            queued=model.queued,
            busy_s=model.busy_s,
            workers=tuple(_figures(worker, usages.get(worker, WorkerUsage())) for worker in model.workers),
        )
        for name, model in models.items()
    }


def _figures(worker: WorkerFacts, usage: WorkerUsage) -> WorkerFigures:
    return WorkerFigures(pid=worker.pid, started_at=worker.started_at, pss_bytes=usage.pss_bytes, threads=usage.threads)
