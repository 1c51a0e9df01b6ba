"""A real TorchServe as a subprocess: on free ports, with a folder of its own, ended with all its workers."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import requests

from tests.support.service import CHECKOUT, parent_pid, wait_until

VENV = CHECKOUT / ".venv-torchserve-tests"
#: Settings of one that has little to do, beside others.
SMALL = {"vmargs": "-Xmx256m", "disable_system_metrics": "true"}
START_S = 120.0
_STOP_S = 20.0
_NO_TOKENS, _MODEL_API = "--disable-token-auth", "--enable-model-api"
_ADDRESSES = ("inference_address", "management_address", "metrics_address")
_GRPC_PORTS = ("grpc_inference_port", "grpc_management_port")


def missing_java() -> str | None:
    """Say that there is no Java, if so, and where it comes from."""
    if shutil.which("java") is not None:
        return None
    return "TorchServe needs Java 17 or newer, there is no java (Debian: apt install openjdk-17-jre-headless)"


def missing() -> str | None:
    """Say what the tests with a real TorchServe lack, if anything."""
    if (VENV / ".installed").exists():
        return missing_java()
    return missing_java() or f"there is no {VENV.name}, which make test-torchserve installs"


class TorchServe:
    """One TorchServe over the store that it is given.

    Args:
        venv: The virtual environment where it is installed.
        folder: For its configuration, logs, keys and temporary files.
        model_store: Folder of the .mar files.
        token_authorization: Whether it asks for the keys in `key_file`.
        model_api: Whether models can be registered and removed.
        settings: More of its configuration.
        environment: Variables beside those of this process.

    Attributes:
        model_store: As given.
        key_file: Where its keys are; None when it asks for none.
        inference: Where predictions are made, once it has started.
        management: Where models are registered, once it has started.
    """

    def __init__(
        self,
        venv: Path,
        folder: Path,
        model_store: Path,
        *,
        token_authorization: bool = False,
        model_api: bool = True,
        settings: Mapping[str, object] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.model_store = model_store
        self.log = folder / "console.log"
        self.key_file = folder / "key_file.json" if token_authorization else None
        self.process: subprocess.Popen[bytes] | None = None
        self.inference = self.management = ""
        self._program = venv.absolute() / "bin" / "torchserve"
        self._flags = [*([] if token_authorization else [_NO_TOKENS]), *([_MODEL_API] if model_api else [])]
        self._settings = {"model_store": model_store, **(settings or {})}
        self._variables = environment or {}
        self._addresses: dict[str, str] = {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it in a process group of its own and wait until it answers; another time on the same ports.

        Raises:
            AssertionError: It did not after `START_S` seconds; the text is the end of its log.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        options = ["--start", "--foreground", "--no-config-snapshots", *self._flags]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [self._program, *options, "--ts-config", self._write_settings()],
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

    def restart(self) -> None:
        """Kill it and start it again, without any model."""
        self.kill()
        self.start()

    def _write_settings(self) -> Path:
        if not self._addresses:
            *ports, grpc_inference, grpc_management = free_ports(len(_ADDRESSES) + len(_GRPC_PORTS))
            self._addresses = dict(zip(_ADDRESSES, (f"http://127.0.0.1:{port}" for port in ports), strict=True))
            self.inference, self.management = (self._addresses[name] for name in _ADDRESSES[:2])
            self._addresses |= zip(_GRPC_PORTS, (str(grpc_inference), str(grpc_management)), strict=True)
        settings = {**self._addresses, **self._settings}
        path = self.folder / "config.properties"
        path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()), encoding="utf-8")
        return path

    def _environment(self) -> dict[str, str]:
        temporary, logs = self.folder / "tmp", self.folder / "logs"
        for each in (temporary, logs):
            each.mkdir(exist_ok=True)
        # Its launcher keeps a pid file in TMPDIR and does not start beside another one; Java's own folder is TEMP.
        folders = {"TMPDIR": temporary, "TEMP": temporary, "LOG_LOCATION": logs, "METRICS_LOCATION": logs}
        return {**os.environ, **self._variables, **{name: str(path) for name, path in folders.items()}}

    def _is_decided(self) -> bool:
        if self.process is None or self.process.poll() is not None:
            return True
        try:
            # A request without a key gets a 400, which proves as well that the server is up.
            expected = 200 if self.key_file is None else 400
            pings = [
                requests.get(f"{self.inference}/ping", timeout=5),
                requests.get(f"{self.management}/models", timeout=5),
            ]
        except requests.RequestException:
            return False
        return [ping.status_code for ping in pings] == [expected, expected]

    def _end_of_log(self) -> str:
        return f"TorchServe does not run: {self.log.read_text(encoding='utf-8', errors='replace')[-2000:]}"

    def stop(self) -> None:
        """End it as an operator would, then kill what is left of its process group."""
        java = self.frontend_pid()
        if java is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(java, signal.SIGTERM)
        if self.process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=_STOP_S)
        self.kill()

    def kill(self) -> None:
        """Kill its process group at once."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(timeout=_STOP_S)
            self.process = None
            # Its launcher takes the file for a sign that a server runs.
            (self.folder / "tmp" / ".model_server.pid").unlink(missing_ok=True)

    def frontend_pid(self) -> int | None:
        """Return the Java process, None when it does not run."""
        return next(iter(children(self.process.pid)), None) if self.process is not None else None


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return sorted(each for each in pids if parent_pid(each) == pid)


def free_ports(count: int) -> list[int]:
    """Return ports that were free a moment ago: TorchServe cannot pick any by itself."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
