"""The runtime's connection to one forkserver process: forks, signals, signs of life and its end."""

import asyncio
import contextlib
import functools
import itertools
import logging
import os
import secrets
import signal
import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from wfmgmt.serving.models.local import frames
from wfmgmt.serving.models.local.channel import Channel, connect
from wfmgmt.serving.models.local.forkserver_process import (
    ForkFailed,
    ForkserverLost,
    ForkserverNotStarted,
    PreloadFailed,
    WorkerEnvironment,
    start_forkserver,
)
from wfmgmt.serving.models.local.log_pipe import LogPipe
from wfmgmt.serving.models.local.output import OutputLog
from wfmgmt.serving.models.local.suspects import Suspects
from wfmgmt.serving.models.local.worker_process import LOST, WorkerProcess
from wfmgmt.serving.models.local.worker_usage import facts_of
from wfmgmt.timeouts import timeout_after

_CLOSE_S = 5.0
_LAST_WORDS_S = 0.5
#: A forkserver is asked for a sign of life this often, and is killed when none comes in so many steps of a second each.
#: It is steps and no time-out, so that a pause of the whole machine, after which its answer is there, is one of them.
_PING_S, _PING_STEPS = 1.0, 5
# So that most messages leave in one piece. The system grants less where net.core.wmem_max is smaller.
_SEND_BUFFER_BYTES = 2 * 1024 * 1024
#: What marks the log records of a worker; too long to be guessed.
_MARK_BYTES = 8

_logger = logging.getLogger(__name__)


class ForkserverConnection:
    """One forkserver process, from its start to its death.

    Attributes:
        is_lost: Whether the process is dead or no longer answers.
    """

    def __init__(
        self,
        *,
        process: asyncio.subprocess.Process,
        incoming: Channel,
        sending: socket.socket,
        pipe: LogPipe,
        output: OutputLog,
        message_bytes: int,
    ) -> None:
        self.is_lost = False
        self._process = process
        self._incoming = incoming
        self._sending = sending
        self._pipe = pipe
        self._output = output
        self._message_bytes = message_bytes
        self._outgoing: deque[tuple[bytes, Sequence[int]]] = deque()
        self._ids = itertools.count(1)
        self._forks: dict[int, asyncio.Future[tuple[int, asyncio.Future[str]]]] = {}
        self._exits: dict[int, asyncio.Future[str]] = {}
        self._closing = False
        self._start_error: str | None = None
        self._has_started = False
        self._started = asyncio.Event()
        self._life = asyncio.Event()
        self._suspects = Suspects()
        self._watching = asyncio.create_task(self._watch())
        self._running = asyncio.create_task(self._run())

    @classmethod
    async def open(cls, environment: WorkerEnvironment) -> "ForkserverConnection":
        """Start a forkserver.

        Raises:
            ForkFailed: The system does not allow it.
        """
        try:
            with contextlib.ExitStack() as opened:
                near, far = socket.socketpair()
                opened.enter_context(near)
                log_read, log_write = os.pipe()
                output = OutputLog(fields={})
                pipe = LogPipe(log_read, output)
                opened.callback(pipe.close)
                try:
                    with far:
                        process = await start_forkserver(far, log_write, environment)
                finally:
                    os.close(log_write)
                near.settimeout(0)
                # Transports cannot send descriptors, and asyncio lets nothing else use a transport's own socket.
                sending = opened.enter_context(near.dup())
                incoming = await connect(near, Channel())
                opened.pop_all()
        except OSError as exc:
            raise ForkFailed(exc.strerror or type(exc).__name__, exc.errno) from exc
        return cls(
            process=process,
            incoming=incoming,
            sending=sending,
            pipe=pipe,
            output=output,
            message_bytes=environment.message_bytes,
        )

    async def wait_started(self) -> None:
        """Wait until it can fork.

        Raises:
            PreloadFailed: A module cannot be imported.
            ForkFailed: It died before.
        """
        await self._started.wait()
        if self.is_lost:
            raise self._loss()

    async def fork(
        self, *, workflow: str, node: str, answer_timeout_s: float, on_dropped: Callable[[str, str, int], None]
    ) -> WorkerProcess:
        """Start one worker.

        Raises:
            ForkFailed: It was not possible.
        """
        try:
            with contextlib.ExitStack() as near_ends, contextlib.ExitStack() as far_ends:
                near, far = socket.socketpair()
                near_ends.enter_context(near)
                far_ends.enter_context(far)
                for end in (near, far):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
                log_read, log_write = os.pipe()
                far_ends.callback(os.close, log_write)
                mark = secrets.token_hex(_MARK_BYTES)
                output = OutputLog(
                    fields={"workflow": workflow, "node": node},
                    mark=mark,
                    on_dropped=functools.partial(on_dropped, workflow, node),
                )
                pipe = LogPipe(log_read, output)
                near_ends.callback(pipe.close)
                pid, exited = await self._request_fork(mark, (far.fileno(), log_write), answer_timeout_s)
                output.fields["pid"] = pid
                far_ends.close()
                facts = facts_of(pid, await _receive_descriptor(near))
                channel = await connect(near, Channel(self._message_bytes))
                near_ends.callback(channel.close)
                if pid in self._exits:
                    self._suspects.add(pid, f"{node} of {workflow}", channel)
                near_ends.pop_all()
        except OSError as exc:
            raise ForkFailed(exc.strerror or type(exc).__name__, exc.errno) from exc
        return WorkerProcess(
            facts=facts, send_signal=self.kill, exited=exited, channel=channel, pipe=pipe, output=output
        )

    def kill(self, pid: int, signal_number: signal.Signals) -> None:
        """Have the forkserver send a signal to a worker's process group."""
        if not self.is_lost:
            self._send({"op": "kill", "pid": pid, "signal": signal_number})

    async def close(self) -> None:
        """End the process, which kills its workers before it goes."""
        self._closing = True
        if not self.is_lost:
            with contextlib.suppress(OSError):
                self._sending.shutdown(socket.SHUT_WR)
            await asyncio.wait({self._running}, timeout=_CLOSE_S)
            self._kill_process()
        await asyncio.wait({self._running})

    async def _request_fork(
        self, mark: str, fds: Sequence[int], answer_timeout_s: float
    ) -> tuple[int, asyncio.Future[str]]:
        if self.is_lost:
            raise self._loss()
        fork_id = next(self._ids)
        self._forks[fork_id] = asyncio.get_running_loop().create_future()
        try:
            self._send({"op": "fork", "id": fork_id, "mark": mark}, fds)
            async with timeout_after(answer_timeout_s):
                return await self._forks[fork_id]
        except TimeoutError:
            self._kill_process()
            raise ForkFailed("the forkserver does not answer") from None
        finally:
            del self._forks[fork_id]

    def _send(self, message: Mapping[str, Any], fds: Sequence[int] = ()) -> None:
        """Send now, or as soon as there is room; the descriptors are copied, so the caller may close its own."""
        self._outgoing.append((frames.encode(message), [os.dup(fd) for fd in fds]))
        self._flush()

    def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._outgoing:
                data, fds = self._outgoing[0]
                sent = socket.send_fds(self._sending, [data], fds) if fds else self._sending.send(data)
                _close_all(fds)
                self._outgoing[0] = (data[sent:], ())
                if sent == len(data):
                    self._outgoing.popleft()
        except BlockingIOError:
            loop.add_writer(self._sending, self._flush)
        except OSError:
            # The forkserver is dead; the end of its stream will show it.
            self._drop_outgoing()
        else:
            loop.remove_writer(self._sending)

    def _drop_outgoing(self) -> None:
        asyncio.get_running_loop().remove_writer(self._sending)
        while self._outgoing:
            _close_all(self._outgoing.popleft()[1])

    async def _run(self) -> None:
        """Handle what the forkserver says until it is dead, then clean up after it."""
        try:
            while True:
                self._handle((await self._incoming.receive()).header)
        except (EOFError, frames.InvalidFrame):
            self._kill_process()
        finally:
            self._watching.cancel()
            suspects = str(self._suspects)
            self._lose()
        self._incoming.close()
        code = await self._process.wait()
        await asyncio.wait({self._output.closed}, timeout=_LAST_WORDS_S)
        self._pipe.close()
        if not self._closing and self._start_error is None:
            _logger.error(
                "the forkserver ended with code %d, with all workers; it is started again when it is needed; %s",
                code,
                suspects,
            )

    async def _watch(self) -> None:
        """Kill a forkserver that gives no sign of life: without it no worker can start, and no end of one is seen."""
        await self._started.wait()
        while not self.is_lost:
            self._life.clear()
            self._send({"op": "ping"})
            for _ in range(_PING_STEPS):
                if await _is_set_within(self._life, _PING_S):
                    break
            else:
                self._kill_process()
                _logger.error("the forkserver did not answer for %g s; it was killed", _PING_S * _PING_STEPS)
                return
            await asyncio.wait({self._running}, timeout=_PING_S)

    def _handle(self, message: Mapping[str, Any]) -> None:
        # Whatever it says: with many forks before the ping it is busy, and does not hang.
        self._life.set()
        if message["op"] == "pong":
            return
        if message["op"] == "exited":
            self._suspects.remove(message["pid"])
            self._exits.pop(message["pid"]).set_result(_describe_exit(message))
            return
        if message["op"] == "start_failed":
            self._start_error = message["error"]
            return
        if message["op"] == "started":
            self._has_started = True
            self._started.set()
            return
        fork = self._forks.get(message["id"])
        if message["op"] == "forked":
            exited = self._exits[message["pid"]] = asyncio.get_running_loop().create_future()
            if fork is not None and not fork.done():
                fork.set_result((message["pid"], exited))
        elif fork is not None and not fork.done():
            fork.set_exception(ForkFailed(message["error"], message.get("errno")))

    def _loss(self) -> ForkFailed:
        """Return the error for requests to a forkserver that is dead."""
        if self._start_error is not None:
            return PreloadFailed(self._start_error)
        return (ForkserverLost if self._has_started else ForkserverNotStarted)("the forkserver died")

    def _lose(self) -> None:
        """Fail what waits for the forkserver, and make sure that its workers die with it."""
        self.is_lost = True
        self._started.set()
        self._drop_outgoing()
        self._sending.close()
        for fork in self._forks.values():
            if not fork.done():
                fork.set_exception(self._loss())
        for pid, exited in self._exits.items():
            # Linux kills the workers themselves, but not what they started, and other systems kill neither.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
            exited.set_result(LOST)
        self._exits.clear()
        self._suspects = Suspects()

    def _kill_process(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()


async def _receive_descriptor(sock: socket.socket) -> int | None:
    """Wait for the descriptor that comes with the first byte; None when none does, or the other side is gone."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(sock, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(sock)
    with contextlib.suppress(ConnectionError):
        _, descriptors, _, _ = socket.recv_fds(sock, 1, 1)
        return next(iter(descriptors), None)
    return None


async def _is_set_within(event: asyncio.Event, timeout_s: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), timeout_s)
    except TimeoutError:
        return False
    return True


def _describe_exit(message: Mapping[str, Any]) -> str:
    if message.get("stopped"):
        return "was stopped, and killed because it was not continued"
    if "code" in message:
        return f"exited with code {message['code']}"
    try:
        return f"was killed by {signal.Signals(message['signal']).name}"
    except ValueError:
        return f"was killed by signal {message['signal']}"


def _close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
