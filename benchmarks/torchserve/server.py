"""TorchServe as a subprocess: on free ports, with its files in a folder of its own, ended with all its workers."""

import contextlib
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Self

import requests

from tests.service import command_line, parent_pid, wait_until

START_S = 120.0
REGISTER_S = 180.0
_STOP_S = 20.0
# It asks for tokens otherwise, and refuses the models of a workflow.
_FLAGS = ("--no-config-snapshots", "--disable-token-auth", "--enable-model-api")
_WORKER = "model_service_worker.py"


class TorchServe:
    """One TorchServe over the stores that it is given.

    Args:
        venv: The virtual environment where it is installed.
        folder: For its configuration, logs and temporary files.
        workflow_store: Folder of the .war files.
        model_store: Folder of the .mar files.
    """

    def __init__(self, venv: Path, folder: Path, *, workflow_store: Path, model_store: Path) -> None:
        self.folder = folder
        self.log = folder / "console.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.inference = self.management = ""
        self._program = venv.absolute() / "bin" / "torchserve"
        self._stores = {"workflow_store": workflow_store, "model_store": model_store}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it in a process group of its own and wait until it is healthy.

        Raises:
            AssertionError: It was not after `START_S` seconds; the text is the end of its log.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [self._program, "--start", "--foreground", *_FLAGS, "--ts-config", self._write_settings()],
                cwd=self.folder,
                env=self._environment(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            wait_until(self._is_decided, timeout_s=START_S, what=self._end_of_log)
            assert self.process.poll() is None, self._end_of_log()
        except BaseException:
            self.stop()
            raise

    def _write_settings(self) -> Path:
        addresses = [f"127.0.0.1:{port}" for port in _free_ports(5)]
        self.inference, self.management = (f"http://{address}" for address in addresses[:2])
        settings = {
            "inference_address": self.inference,
            "management_address": self.management,
            "metrics_address": f"http://{addresses[2]}",
            "grpc_inference_port": addresses[3].partition(":")[2],
            "grpc_management_port": addresses[4].partition(":")[2],
            "enable_metrics_api": "true",
            **self._stores,
        }
        path = self.folder / "config.properties"
        path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()), encoding="utf-8")
        return path

    def _environment(self) -> dict[str, str]:
        temporary, logs = self.folder / "tmp", self.folder / "logs"
        for each in (temporary, logs):
            each.mkdir(exist_ok=True)
        # Its launcher keeps a pid file in TMPDIR and does not start beside another one; Java's own folder is TEMP.
        folders = {"TMPDIR": temporary, "TEMP": temporary, "LOG_LOCATION": logs, "METRICS_LOCATION": logs}
        return {**os.environ, **{name: str(path) for name, path in folders.items()}}

    def _is_decided(self) -> bool:
        if self.process is None or self.process.poll() is not None:
            return True
        try:
            return requests.get(f"{self.inference}/ping", timeout=5).ok
        except requests.ConnectionError:
            return False

    def _end_of_log(self) -> str:
        return f"TorchServe does not run: {self.log.read_text(encoding='utf-8', errors='replace')[-2000:]}"

    def stop(self) -> None:
        """End it as an operator would, then whatever is left of its process group."""
        if self.process is None:
            return
        java = self.frontend_pid()
        if java is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(java, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=_STOP_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=_STOP_S)
        self.process = None

    def register(self, url: str, **parameters: object) -> requests.Response:
        """Register a workflow; the answer comes when its workers are up."""
        parameters = {"url": url, **parameters}
        return requests.post(f"{self.management}/workflows", params=parameters, timeout=REGISTER_S)

    def unregister(self, name: str) -> requests.Response:
        """Unregister a workflow; its workers may outlive the answer by a moment."""
        return requests.delete(f"{self.management}/workflows/{name}", timeout=REGISTER_S)

    def frontend_pid(self) -> int | None:
        """Return the Java process, None when it does not run."""
        return next(iter(_children(self.process.pid)), None) if self.process is not None else None

    def model_pids(self) -> list[int]:
        """Return the Python processes that run models and functions: those that Java started for them."""
        java = self.frontend_pid()
        return [pid for pid in _children(java) if _WORKER in command_line(pid)] if java is not None else []

    def own_pids(self) -> list[int]:
        """Return the processes that are there without any workflow: the launcher and Java."""
        java = self.frontend_pid()
        return [self.process.pid, java] if self.process is not None and java is not None else []


def _children(pid: int) -> list[int]:
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return sorted(each for each in pids if parent_pid(each) == pid)


def _free_ports(count: int) -> list[int]:
    """Return ports that were free a moment ago: TorchServe cannot pick any by itself."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
