"""Starting one worker of a job: a process is forked, and loads its handler."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import Any, Protocol

from wfmgmt.domain.faults import Fault
from wfmgmt.domain.releases import FIRST_VERSION
from wfmgmt.serving.models.base import ModelNotLoaded
from wfmgmt.serving.models.local.forkserver_process import ForkFailed, PreloadFailed
from wfmgmt.serving.models.local.frames import Frame, InvalidFrame
from wfmgmt.serving.models.local.worker_process import WorkerExited, WorkerProcess
from wfmgmt.timeouts import timeout_at

_logger = logging.getLogger("wfmgmt.worker")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The work of each worker of a pool: the handler that it loads.

    Attributes:
        workflow: Workflow it belongs to.
        version: Which version of that.
        node: Node whose handler it hosts.
        equip: Prepares what one worker needs, and takes it back when that worker is gone. Gives the message that makes
            the worker load its handler, as `worker` describes it. Entering raises ModelNotLoaded.
        startup_timeout_s: Time each worker has from its start until its handler is initialised.
        request_id: The request for which workers are started now; empty when there is none.
        explain_import: Says what to do about an import that failed; given whether a module is not there at all.
    """

    workflow: str
    version: str = FIRST_VERSION
    node: str
    equip: Callable[[], AbstractAsyncContextManager[Mapping[str, Any]]]
    startup_timeout_s: float
    request_id: str = ""
    explain_import: Callable[[bool], str] = lambda _lacks_module: ""

    @property
    def log_fields(self) -> dict[str, Any]:
        """What lines of the log about its workers belong to."""
        fields = {"workflow": self.workflow, "version": self.version, "node": self.node}
        return fields | ({"request_id": self.request_id} if self.request_id else {})

    def log_end(self, pid: int, end: str, why_removed: str) -> None:
        """Log that a worker is gone: by itself, which is a failure, or because it was not needed any more."""
        level = logging.INFO if why_removed else logging.WARNING
        _logger.log(level, "worker gone: %s", why_removed or end, extra={**self.log_fields, "pid": pid})


class Forks(Protocol):
    """The part of `ForkserverClient` that starting a worker uses."""

    async def fork(self, *, workflow: str, node: str) -> WorkerProcess:
        """Start one worker, which waits for its first message."""


async def bring_up(job: Job, forkserver: Forks) -> WorkerProcess:
    """Start one worker and return it when it has loaded its job.

    Raises:
        ModelNotLoaded: It did not come up.
    """
    node, timeout_s = job.node, job.startup_timeout_s
    async with AsyncExitStack() as equipment:
        load = await equipment.enter_async_context(job.equip())
        deadline = asyncio.get_running_loop().time() + timeout_s
        try:
            async with timeout_at(deadline):
                worker = await forkserver.fork(workflow=job.workflow, node=node)
        except TimeoutError:
            raise ModelNotLoaded(node, f"no process was forked within startup_timeout of {timeout_s:g} s") from None
        except ForkFailed as exc:
            fault = Fault.NO_ROOM if exc.is_lack else Fault.UNREACHABLE
            if isinstance(exc, PreloadFailed):
                fault = Fault.MODEL  # The service's own environment has the modules, that of the model has other ones.
            raise ModelNotLoaded(node, f"no worker could be started: {exc}", fault) from exc
        worker.own(equipment.pop_all())
    worker.output.fields |= job.log_fields
    try:
        await _load(job, worker, load, deadline)
    except BaseException:
        await worker.stop(grace_s=0)
        raise
    took_s = asyncio.get_running_loop().time() - (deadline - timeout_s)
    worker.output.fields.pop("request_id", None)  # From now on it works for others.
    _logger.info("worker up after %.2f s", took_s, extra={**job.log_fields, "pid": worker.pid})
    return worker


async def _load(job: Job, worker: WorkerProcess, load: Mapping[str, Any], deadline: float) -> None:
    node, timeout_s = job.node, job.startup_timeout_s
    try:
        async with timeout_at(deadline):
            worker.send(load)
            _check_ready(job, worker, await worker.receive())
    except TimeoutError:
        raise ModelNotLoaded(node, f"not ready within startup_timeout of {timeout_s:g} s") from None
    except WorkerExited as exc:
        fault = Fault.UNREACHABLE if exc.is_lost else Fault.MODEL
        raise ModelNotLoaded(node, f"worker {exc} while loading", fault) from exc
    except InvalidFrame as exc:
        raise ModelNotLoaded(node, f"broken connection to the worker: {exc}") from exc


def _check_ready(job: Job, worker: WorkerProcess, frame: Frame) -> None:
    """Read what a worker says about its load.

    Raises:
        ModelNotLoaded: The handler failed; or the working folder could not be made, and an OSError is the cause.
        InvalidFrame: The message is none of those that a loading worker sends.
    """
    match frame.header:
        case {"op": "ready"}:
            return
        case {"op": "failed", "error": str(error), "traceback": str(traceback)}:
            worker.output.log_failure(traceback)
            number = frame.header.get("errno")
            if isinstance(lacks_module := frame.header.get("lacks_module"), bool):
                error += job.explain_import(lacks_module)
            raise ModelNotLoaded(job.node, error, Fault.ARCHIVE if "archive" in frame.header else Fault.MODEL) from (
                OSError(number, error) if isinstance(number, int) else None
            )
    raise InvalidFrame("unknown message")
