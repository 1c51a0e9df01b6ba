"""Models of the fake: their handlers run in worker processes, behind queues that behave as TorchServe's do."""

import asyncio
import itertools
import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.fake_torchserve.answers import INTERNAL, HandlerAnswer, OwnError
from tests.support.model_servers import UnpackedMar
from wfmgmt.serving.models.base import NodeRequest
from wfmgmt.serving.models.local.batches import encode_batch
from wfmgmt.serving.models.local.forkserver_client import ForkFailed, ForkserverClient
from wfmgmt.serving.models.local.frames import Frame, InvalidFrame
from wfmgmt.serving.models.local.worker_process import WorkerExited, WorkerProcess

_ANSWER_BYTES = 6_553_500
_DIED = "Worker died."
_READY, _NOT_READY = "READY", "UNLOADING"


@dataclass(kw_only=True)
class Host:
    """What all models of one fake share.

    Attributes:
        forkserver: Where their workers come from.
        restart_s: Seconds before a worker is started again: after its death, after its first failure to start, and
            so on.
        queue_size: Requests that may wait per model version.
        requeues: Whether a request is put back into the queue, and not failed, when its worker is scaled away: the
            real one does the one or the other.
        worker_ids: Numbers of workers.
        leaving: Workers that are on their way out.
    """

    forkserver: ForkserverClient
    restart_s: Sequence[float] = (1.0, 1.0, 2.0, 3.0, 5.0, 8.0)
    queue_size: int = 100
    requeues: bool = False
    worker_ids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(9000))
    leaving: set["asyncio.Task[None]"] = field(default_factory=set)


@dataclass(kw_only=True)
class ModelSettings:
    """What a model was registered with; a test may change it behind a client's back."""

    name: str
    version: str
    url: str
    batch_size: int = 1
    max_batch_delay_ms: int = 100
    response_timeout_s: int = 120
    startup_timeout_s: int = 120


class _Job(NamedTuple):
    """A request, and where its answer goes."""

    request: NodeRequest
    answer: "asyncio.Future[HandlerAnswer]"

    def fail(self, error: OwnError) -> None:
        """Answer with an error."""
        if not self.answer.done():
            self.answer.set_exception(error)


class ServedModel:
    """One version of a registered model.

    Attributes:
        settings: What it was registered with.
        folder: Where its archive is unpacked; None for an archive that is broken.
        unpacked: What the archive says.
        host: What it shares with others.
        min_workers: As last asked for; that many run.
        max_workers: As last requested; reported and nothing else.
        workers: Its workers, in the order of their start.
        queue: Requests that wait.
    """

    def __init__(self, host: Host, settings: ModelSettings, folder: Path, unpacked: UnpackedMar | None) -> None:
        self.host = host
        self.settings = settings
        self.folder = folder
        self.unpacked = unpacked
        self.min_workers = self.max_workers = 0
        self.workers: list[Worker] = []
        self.queue: asyncio.Queue[_Job] = asyncio.Queue(host.queue_size)
        self._lost: list[_Job] = []

    @property
    def is_ready(self) -> bool:
        """Whether all workers are up."""
        return all(worker.status == _READY for worker in self.workers)

    @property
    def pids(self) -> list[int]:
        """Processes of the workers that are up."""
        return [worker.pid for worker in self.workers if worker.status == _READY]

    def scale(self, minimum: int, maximum: int) -> "list[Worker]":
        """Start workers up to the minimum and end those beyond the maximum; return the new ones, still starting."""
        self.min_workers, self.max_workers = minimum, maximum
        kept = maximum if minimum else 0
        for worker in self.workers[kept:]:
            for job in worker.leave():
                if self.host.requeues and not self.queue.full():
                    self.queue.put_nowait(job)
                else:
                    job.fail(OwnError(500, INTERNAL, _DIED))
        del self.workers[kept:]
        new = [Worker(self) for _ in range(minimum - len(self.workers))]
        self.workers += new
        return new

    def remove(self) -> None:
        """End all workers; requests that they work on or that wait are never answered."""
        for worker in self.workers:
            self._lost += worker.leave()
        self.workers.clear()

    def submit(self, request: NodeRequest) -> "asyncio.Future[HandlerAnswer]":
        """Have a worker answer a request, whenever there is one that can.

        Raises:
            OwnError: There is no worker, or no room in the queue; TorchServe says the same for both.
        """
        if not self.workers or self.queue.full():
            text = (
                f'Model "{self.settings.name}" has no worker to serve inference request. Please use scale workers API '
                "to add workers. If this is a sequence inference, please check if it is closed, or expired; or exceeds "
                "maxSequenceJobQueueSize"
            )
            raise OwnError(503, "ServiceUnavailableException", text)
        job = _Job(request, asyncio.get_running_loop().create_future())
        self.queue.put_nowait(job)
        return job.answer

    def describe(self) -> dict[str, Any]:
        """Return the description of a model as GET answers it."""
        settings, waiting = self.settings, self.queue.qsize()
        return {
            "modelName": settings.name,
            "modelVersion": settings.version,
            "modelUrl": settings.url,
            "runtime": "python",
            "minWorkers": self.min_workers,
            "maxWorkers": self.max_workers,
            "batchSize": settings.batch_size,
            "maxBatchDelay": settings.max_batch_delay_ms,
            "responseTimeout": settings.response_timeout_s,
            "startupTimeout": settings.startup_timeout_s,
            "maxRetryTimeoutInSec": 300,
            "clientTimeoutInMills": 0,
            "deviceType": "cpu",
            "loadedAtStartup": False,
            "workers": [worker.describe() for worker in self.workers],
            "jobQueueStatus": {
                "remainingCapacity": self.host.queue_size - waiting,
                "pendingRequests": waiting,
            },
        }


class Worker:
    """The place of one worker process, in which a new one is started whenever one dies.

    Attributes:
        status: READY, or UNLOADING: which also means that it starts, or cannot.
        pid: The process, also when it is the last one and gone.
        came_up: Whether the first process loaded the handler, once that is known.
    """

    def __init__(self, model: ServedModel) -> None:
        self.status = _NOT_READY
        self.pid = -1
        self.came_up: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._model = model
        self._id = str(next(model.host.worker_ids))
        self._started_at = datetime.now(UTC)
        self._jobs: list[_Job] = []
        self._task = asyncio.create_task(self._run())

    def leave(self) -> list[_Job]:
        """Kill the process without waiting for its end, and return what it had begun."""
        leaving = self._model.host.leaving
        leaving.add(self._task)
        self._task.add_done_callback(leaving.discard)
        self._task.cancel()
        self._tell(came_up=False)
        return self._jobs

    def describe(self) -> dict[str, Any]:
        """Return the description of a worker as GET answers it."""
        return {
            "id": self._id,
            "startTime": self._started_at.strftime("%Y-%m-%dT%H:%M:%S.")
            + f"{self._started_at.microsecond // 1000:03}Z",
            "status": self.status,
            "memoryUsage": 0,
            "pid": self.pid,
            "gpu": False,
            "gpuUsage": "N/A",
        }

    def _tell(self, *, came_up: bool) -> None:
        if not self.came_up.done():
            self.came_up.set_result(came_up)

    async def _run(self) -> None:
        failures = 0
        delays_s = self._model.host.restart_s
        while True:
            try:
                process = await self._start()
            except (ForkFailed, WorkerExited, InvalidFrame, TimeoutError, _NotLoaded):
                self._tell(came_up=False)
            else:
                failures = 0
                await self._serve(process)
            await asyncio.sleep(delays_s[min(failures, len(delays_s) - 1)])
            failures += 1

    async def _start(self) -> WorkerProcess:
        """Start a process and have it load the handler."""
        process = await self._model.host.forkserver.fork(workflow="fake", node=self._model.settings.name)
        self.pid = process.pid
        try:
            async with asyncio.timeout(self._model.settings.startup_timeout_s):
                await _load(process, self._model)
        except BaseException:
            await process.stop(grace_s=0)
            raise
        return process

    async def _serve(self, process: WorkerProcess) -> None:
        """Work until the process is gone."""
        self.status = _READY
        self._tell(came_up=True)
        gone = asyncio.create_task(process.wait())
        try:
            while (first := await self._next_job(gone)) is not None:
                self._jobs = [first]
                await self._fill_batch()
                if not await self._answer(process):
                    return
                self._jobs = []
        finally:
            self.status = _NOT_READY
            gone.cancel()
            await process.stop(grace_s=0)

    async def _next_job(self, gone: "asyncio.Task[str]") -> _Job | None:
        """Take what waits for longest, None when the process is gone first."""
        queue = self._model.queue
        taking = asyncio.create_task(queue.get())
        try:
            await asyncio.wait({taking, gone}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if taking.done():
                queue.put_nowait(taking.result())
            taking.cancel()
            raise
        if taking.done():
            return taking.result()
        taking.cancel()
        return None

    async def _fill_batch(self) -> None:
        """Take more, until the batch is full or its time is over."""
        settings = self._model.settings
        try:
            async with asyncio.timeout(settings.max_batch_delay_ms / 1000):
                while len(self._jobs) < settings.batch_size:
                    self._jobs.append(await self._model.queue.get())
        except TimeoutError:
            return

    async def _answer(self, process: WorkerProcess) -> bool:
        """Have a batch answered, and tell whether the process can go on. One failure fails all of the batch."""
        ticket = random.getrandbits(63)
        try:
            process.send(*encode_batch([job.request for job in self._jobs], ticket))
            async with asyncio.timeout(self._model.settings.response_timeout_s):
                frame = await process.receive()
            for job, answer in zip(self._jobs, _read_answers(frame), strict=True):
                if not job.answer.done():
                    job.answer.set_result(answer)
        except OwnError as error:
            self._fail(error)
            return str(error) != _DIED
        except WorkerExited as exited:
            # Most often the real one finds out about a signal in another way than about an exit.
            self._fail(OwnError(507 if "killed by" in str(exited) else 500, INTERNAL, _DIED))
            return False
        except (InvalidFrame, TimeoutError):
            self._fail(OwnError(500, INTERNAL, _DIED))
            return False
        return True

    def _fail(self, error: OwnError) -> None:
        for job in self._jobs:
            job.fail(error)
        self._jobs = []


class _NotLoaded(Exception):
    """A worker said that its handler cannot be loaded."""


async def _load(process: WorkerProcess, model: ServedModel) -> None:
    """Have a process load a model's handler.

    Raises:
        _NotLoaded: It cannot.
        WorkerExited: It is gone.
        InvalidFrame: It says something else.
    """
    process.send(_load_order(model))
    if (await process.receive()).header["op"] != "ready":
        raise _NotLoaded


def _load_order(model: ServedModel) -> dict[str, Any]:
    """Return the message that makes a worker load a model."""
    if model.unpacked is None:
        raise _NotLoaded
    # The real one's workers share a folder; ours always make one of their own.
    directory = f"{model.folder}-{uuid.uuid4().hex}"
    return {
        "op": "load",
        "title": "worker fake",
        "tree": str(model.folder),
        "directory": directory,
        "archive": model.settings.url,
        "handler": model.unpacked.handler,
        "model_name": model.settings.name,
        "answer_bytes": _ANSWER_BYTES,
        "threads": None,
        "environment": {},
        "context": {
            "manifest": model.unpacked.manifest,
            "system_properties": {
                "model_dir": directory,
                "gpu_id": None,
                "batch_size": model.settings.batch_size,
                "server_name": "MMS",
                "server_version": "0.12.0",
                "limit_max_image_pixels": True,
            },
        },
    }


def _read_answers(frame: Frame) -> list[HandlerAnswer]:
    """Return what a handler made of a batch.

    Raises:
        OwnError: It failed; the handler's words go no further.
    """
    header = frame.header
    if header["op"] == "failed":
        raise _failure(header["error"], header.get("status"))
    answers, position = [], 0
    for answer in header["answers"]:
        if isinstance(answer, dict):
            is_long = "the limit is" in answer["error"]
            raise OwnError(500, INTERNAL, _DIED) if is_long else _unavailable("Unsupported model output data type.")
        status, headers, size_bytes = answer
        answers.append(HandlerAnswer(status, headers, bytes(frame.payload[position : position + size_bytes])))
        position += size_bytes
    return answers


def _failure(error: str, status: int | None) -> OwnError:
    """Return what TorchServe says of what our worker says of a handler."""
    kind = error.partition(":")[0]
    if status is not None:
        return OwnError(status, INTERNAL, error)
    if kind in {"SystemExit", "KeyboardInterrupt"}:
        return OwnError(500, INTERNAL, _DIED)
    if kind == "MemoryError" or "CUDA" in error:
        return OwnError(507, INTERNAL, "Out of resources")
    if error.startswith("it returned a list of"):
        return _unavailable("number of batch response mismatched")
    return _unavailable("Invalid model predict output" if error.startswith("it returned ") else "Prediction failed")


def _unavailable(message: str) -> OwnError:
    return OwnError(503, INTERNAL, message)
