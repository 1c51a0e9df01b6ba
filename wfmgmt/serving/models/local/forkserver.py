"""The forkserver: a small, clean process that forks the workers.

The runtime starts it once, as `python -m wfmgmt.serving.models.local.forkserver FD OPTIONS`: FD is its end of a
Unix stream socket, OPTIONS a JSON object: "preload", the modules that it imports at once for all workers;
"memory_bytes" of address space that each worker may have, or null; "log_level" from which on workers log; their
"umask", or null; "instance", which its title and those of its workers name. It starts no thread and has few imports of
its own, so a fork of it is safe, quick and shares nearly all memory. The runtime and the forkserver exchange frames:

    runtime → forkserver   {"op": "fork", "id", "mark"} with two descriptors: the worker's socket, the write end of its
                           log pipe; the mark is that of its log records
                           {"op": "kill", "pid", "signal"}: to the whole process group of a worker that still exists
                           {"op": "ping"}
    forkserver → runtime   {"op": "started"} when all modules are imported,
                           or {"op": "start_failed", "error"} when one cannot be; then it exits
                           {"op": "forked", "id", "pid"} or {"op": "failed", "id", "error", "errno"}
                           {"op": "exited", "pid", "code"} or {"op": "exited", "pid", "signal"}, and "stopped" when it
                           was killed because it had been stopped
                           {"op": "pong"}

A worker that is stopped (SIGSTOP) and not continued within `STOPPED_S` is killed, since it would fail the requests that
it is given. When a worker ends, the rest of its process group is killed. On Linux, descendants of workers that
made a group of their own and lost their parent become the forkserver's children; these are killed when the next child
ends, since it is unknown whose they were. When the runtime is gone, however it went, or on SIGTERM, the forkserver
kills everything and exits. When the forkserver itself is killed, Linux kills its workers.
"""

import contextlib
import errno
import gc
import importlib
import io
import itertools
import json
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from wfmgmt.serving.allocation import keep_freed_memory
from wfmgmt.serving.models.local import frames, hardening, worker, worker_log
from wfmgmt.serving.models.local.randomness import seed_loaded_modules
from wfmgmt.titles import set_title

#: How long a worker may be stopped; a pause of all processes together does not count, since its end is seen, too.
STOPPED_S = 3.0

#: So many children are reaped before the next message is answered: a handler can leave thousands behind.
MAX_REAPED = 64

_FDS_PER_FORK = 2
#: Address space that a worker needs for itself beside what it shares with the forkserver.
_OWN_BYTES = 32 * 1024 * 1024
#: What is named as enough is more than is needed now: it differs a little from one start to the next.
_SLACK_BYTES = 8 * 1024 * 1024
_MIB = 1024 * 1024


def main() -> None:
    """Serve the runtime; the arguments are those that the module's description gives."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
    options = json.loads(sys.argv[2])
    set_title("forkserver", options["instance"])
    keep_freed_memory()
    with socket.socket(fileno=int(sys.argv[1])) as control:
        control.set_inheritable(False)
        if not _preload(control, options["preload"]) or not _check_memory(control, options["memory_bytes"]):
            return
        frames.send(control, {"op": "started"})
        gc.collect()
        gc.freeze()
        _Forkserver(control, options).serve()


def _preload(control: socket.socket, modules: Sequence[str]) -> bool:
    """Import modules for all workers; report to the runtime when that fails."""
    for module in modules:
        try:
            importlib.import_module(module)
        except BaseException as exc:  # noqa: BLE001 - importing runs code that can raise anything
            error = f"WFMGMT_PRELOAD: {module} cannot be imported: {worker.describe_error(exc)}"
            frames.send(control, {"op": "start_failed", "error": error})
            return False
    return True


def _check_memory(control: socket.socket, memory_bytes: int | None) -> bool:
    """Report to the runtime when workers could not even start within the memory that they may have."""
    needed = hardening.address_space_bytes() + _OWN_BYTES
    if memory_bytes is None or memory_bytes >= needed:
        return True
    enough, given = -(-(needed + _SLACK_BYTES) // _MIB), memory_bytes // _MIB
    error = (
        f"WFMGMT_WORKER_MEMORY_MB: {given} is too little for Python and what is preloaded; at least {enough} is needed"
    )
    frames.send(control, {"op": "start_failed", "error": error})
    return False


class _Forkserver:
    """The parent of all workers."""

    def __init__(self, control: socket.socket, options: Mapping[str, Any]) -> None:
        self._control = control
        self._options = options
        self._processes = hardening.process_limit()
        self._workers: set[int] = set()
        # Those that are stopped, with the time until which they may be; and those that were killed for it.
        self._stopped: dict[int, float] = {}
        self._overdue: set[int] = set()
        self._has_unreaped = False
        self._signals, self._wakeup = socket.socketpair()
        self._signals.settimeout(0)
        self._wakeup.settimeout(0)
        # The handlers exist only to have the signals' numbers written to the socket; serve() does the work.
        signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _ignore)
        signal.signal(signal.SIGTERM, _ignore)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        hardening.adopt_orphans()
        hardening.hide_memory()

    def serve(self) -> None:
        """Answer requests and report exits until the runtime is gone or SIGTERM comes."""
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self._control, selectors.EVENT_READ, self._answer)
                selector.register(self._signals, selectors.EVENT_READ, self._handle_signals)
                while all(key.data() for key, _ in selector.select(self._patience_s())):
                    if self._has_unreaped:
                        self._reap()
                    self._kill_stopped()
        except (EOFError, ConnectionError):
            return
        finally:
            self._end()

    def _answer(self) -> bool:
        """Do what the next message asks for."""
        frame, fds = frames.receive_with_fds(self._control, _FDS_PER_FORK)
        message = frame.header
        if message["op"] == "fork":
            try:
                self._report({**self._fork(fds, message["mark"]), "id": message["id"]})
            finally:
                for fd in fds:
                    os.close(fd)
        elif message["op"] == "ping":
            self._report({"op": "pong"})
        elif message["op"] == "kill" and message["pid"] in self._workers:
            _kill_group(message["pid"], message["signal"])
        return True

    def _handle_signals(self) -> bool:
        """Have children reaped; return whether to go on."""
        received = self._signals.recv(4096)
        self._has_unreaped = True
        return signal.SIGTERM not in received

    def _fork(self, fds: Sequence[int], log_mark: str) -> dict[str, Any]:
        """Fork one worker and return the answer for the runtime."""
        if len(fds) != _FDS_PER_FORK:
            return {"op": "failed", "error": "too many open files", "errno": errno.EMFILE}
        worker_fd, log_fd = fds
        parent = os.getpid()
        try:
            with _signals_blocked() as mask:
                pid = os.fork()
                if pid == 0:
                    _run_worker(
                        worker_fd,
                        log_fd,
                        log_mark,
                        parent=parent,
                        mask=mask,
                        options=self._options,
                        processes=self._processes,
                    )
        except OSError as exc:
            return {"op": "failed", "error": exc.strerror, "errno": exc.errno}
        # Both sides set the group, so that it exists before either goes on.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.setpgid(pid, pid)
        self._workers.add(pid)
        return {"op": "forked", "pid": pid}

    def _reap(self) -> None:
        """Reap some children that have ended, kill what they left behind, and see who was stopped or continued."""
        seen = 0
        has_ended = False
        for pid, status in itertools.islice(_changed_children(), MAX_REAPED):
            seen += 1
            if os.WIFSTOPPED(status):
                self._stopped.setdefault(pid, time.monotonic() + STOPPED_S)
                continue
            self._stopped.pop(pid, None)
            if os.WIFCONTINUED(status):
                continue
            has_ended = True
            if pid in self._workers:
                self._workers.remove(pid)
                # A group that still has members keeps its number, and an empty one's is not given away this soon.
                _kill_group(pid, signal.SIGKILL)
                self._report({"op": "exited", "pid": pid, **self._describe_end(pid, status)})
        self._has_unreaped = seen == MAX_REAPED
        if has_ended:  # Once for all of them: it looks at every child.
            self._kill_strays()

    def _describe_end(self, pid: int, status: int) -> dict[str, Any]:
        was_overdue = pid in self._overdue
        self._overdue.discard(pid)
        code = os.waitstatus_to_exitcode(status)
        if code >= 0:
            return {"code": code}
        return {"signal": -code, "stopped": was_overdue}

    def _patience_s(self) -> float | None:
        """Return for how long nothing has to be done unless something happens."""
        if self._has_unreaped:
            return 0
        if not self._stopped:
            return None
        return max(min(self._stopped.values()) - time.monotonic(), 0)

    def _kill_stopped(self) -> None:
        """Kill workers that have been stopped for too long."""
        for pid, until in list(self._stopped.items()):
            if time.monotonic() >= until:
                del self._stopped[pid]
                if pid in self._workers:
                    self._overdue.add(pid)
                    _kill_group(pid, signal.SIGKILL)

    def _kill_strays(self) -> None:
        """Kill adopted descendants of workers, except those in the group of a worker that lives."""
        for pid in hardening.children():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if pid not in self._workers and os.getpgid(pid) not in self._workers:
                    os.kill(pid, signal.SIGKILL)

    def _end(self) -> None:
        """Kill everything and wait until it is gone."""
        for pid in self._workers:
            _kill_group(pid, signal.SIGKILL)
        self._workers.clear()
        with contextlib.suppress(ChildProcessError):
            while True:
                self._kill_strays()
                os.waitpid(-1, 0)
                for _ in _changed_children():
                    pass  # All that have ended by now, before the rest is looked for again.

    def _report(self, message: Mapping[str, Any]) -> None:
        frames.send(self._control, message)


def _run_worker(
    worker_fd: int,
    log_fd: int,
    log_mark: str,
    *,
    parent: int,
    mask: set[int],
    options: Mapping[str, Any],
    processes: int | None,
) -> NoReturn:
    """Turn the forked copy of the forkserver into a worker; it never returns into the forkserver's code."""
    code = 1
    try:
        os.setpgid(0, 0)
        _die_with(parent)
        _redirect_streams(worker_fd, log_fd)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        worker_log.configure(options["log_level"], log_mark)
        if options["umask"] is not None:
            os.umask(options["umask"])
        hardening.harden_worker(processes=processes, memory_bytes=options["memory_bytes"])
        seed_loaded_modules()
        sock = socket.socket(fileno=worker_fd)
        _send_memory_file(sock)
        code = worker.main(sock, options["instance"])
    except BaseException:  # noqa: BLE001 - nothing above handles it; the log and the exit code show it
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        os._exit(code)


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when the forkserver dies, also when that has happened already."""
    hardening.die_with_parent(signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _redirect_streams(worker_fd: int, log_fd: int) -> None:
    """Leave nothing open but the worker's socket, an empty standard input, and the log as both outputs."""
    null_fd = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null_fd, 0)
    os.dup2(log_fd, 1)
    os.dup2(log_fd, 2)
    os.set_inheritable(worker_fd, False)  # noqa: FBT003 - os takes no keywords
    for name in os.listdir("/dev/fd"):  # noqa: PTH208 - pathlib would cost each worker memory
        if int(name) not in {0, 1, 2, worker_fd}:
            with contextlib.suppress(OSError):  # The listing had a descriptor of its own.
                os.close(int(name))


def _send_memory_file(sock: socket.socket) -> None:
    """Send what says how much memory this worker takes, or a byte alone when that cannot be opened or sent.

    Only the worker itself and root may open that file, since the worker hides its memory; but who has it can read it.
    """
    with contextlib.suppress(OSError), open("/proc/self/smaps_rollup", "rb", buffering=0) as file:  # noqa: PTH123 - pathlib costs memory
        socket.send_fds(sock, [b"m"], [file.fileno()])
        return
    sock.send(b"m")


@contextlib.contextmanager
def _signals_blocked() -> Iterator[set[int]]:
    """Hold back signals, so that none that is meant for a new worker meets the forkserver's handlers.

    Yields:
        The signals that were held back before.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGTERM})
    try:
        yield {int(number) for number in mask}
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _changed_children() -> Iterator[tuple[int, int]]:
    """Yield process id and wait status of children that ended, which reaps them, were stopped or were continued."""
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
            if pid == 0:
                return
            yield pid, status


def _kill_group(pid: int, signal_number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal_number)


def _ignore(_signal_number: int, _frame: object) -> None:
    """Take a signal that the wake-up socket has reported."""


if __name__ == "__main__":
    main()
