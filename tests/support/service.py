"""The whole service as a subprocess, as a deployment runs it: gunicorn, web workers, runtime, worker processes."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import requests

from wfmgmt.deployment.exclusion import STORE_LOCK

CHECKOUT = Path(__file__).resolve().parents[2]
#: Only what hangs takes so long, be the machine ever so busy: a start, and anything else that is waited for.
START_S, PATIENCE_S = 60.0, 30.0
#: Between two looks: short at first, and longer when something takes long, since looking costs what it waits for time.
FIRST_PAUSE_S, LAST_PAUSE_S = 0.01, 0.1


def wait_until(
    condition: Callable[[], object], *, timeout_s: float = PATIENCE_S, what: str | Callable[[], str] = "the condition"
) -> Any:
    """Return the first true value of `condition`, asked again and again until the time is over."""
    deadline = time.monotonic() + timeout_s
    pause_s = FIRST_PAUSE_S
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            message = f"{what if isinstance(what, str) else what()} did not come true within {timeout_s} s"
            raise AssertionError(message)
        time.sleep(pause_s)
        pause_s = min(1.2 * pause_s, LAST_PAUSE_S)


class Service:
    """One deployment on free ports, over an instance folder of its own.

    Args:
        instance: The folder.
        arguments: More arguments for gunicorn.
        prefix: Command that runs the service's processes, like `nsenter`.
        visible_root: Where the service's root folder can be seen from here, when it has one of its own.
        settings: Settings as in the environment, without their prefix.
    """

    def __init__(
        self,
        instance: Path,
        *arguments: str,
        prefix: Sequence[str] = (),
        visible_root: Path = Path("/"),
        **settings: Any,
    ) -> None:
        self.instance = instance
        visible = visible_root / instance.relative_to("/")
        self.run_folder = visible / "run"
        self.archives = visible / "archives"
        self.workflow_store = visible / "workflow_store"
        self.model_store = visible / "model_store"
        self.database = visible / "wfmgmt.db"
        self.prefix = prefix
        for folder in (self.workflow_store, self.model_store):
            folder.mkdir(parents=True, exist_ok=True)
        self.log = visible / "service.log"
        self.cwd = CHECKOUT
        self.command_line = [sys.executable, "-m", "gunicorn", *arguments, "app:app"]
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("WFMGMT_")},
            # The authorities of this host, which no test meets, take a tenth of a runtime's start to read.
            "SSL_CERT_FILE": os.devnull,
            "WFMGMT_INSTANCE": str(instance),
            "WFMGMT_MANAGEMENT_ADDRESS": "127.0.0.1:0",
            "WFMGMT_INFERENCE_ADDRESS": "127.0.0.1:0",
            # Tests make more registrations fail than clients do, and look for the event of each.
            "WFMGMT_MAX_AUDITED_FAILURES": "1000000",
            **{f"WFMGMT_{name.upper()}": str(value) for name, value in settings.items()},
        }
        self.pass_fds: tuple[int, ...] = ()
        self.process: subprocess.Popen[bytes] | None = None
        self.management = self.inference = ""
        self.start_s = START_S

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the `wfmgmt` command with this deployment's settings."""
        return subprocess.run(
            [*self.prefix, sys.executable, "-m", "wfmgmt.cli.main", *arguments],
            cwd=CHECKOUT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def launch(self) -> subprocess.Popen[bytes]:
        """Start the command line, which is gunicorn's, in a process group of its own, without waiting for anything."""
        for plane in ("management", "inference"):
            (self.run_folder / f"{plane}.address").unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, *self.command_line],
                cwd=self.cwd,
                env=self.environment,
                stdout=log,
                stderr=log,
                pass_fds=self.pass_fds,
                start_new_session=True,
            )
        return self.process

    def start(self) -> Self:
        """Start gunicorn and wait until it is healthy or says what is not."""
        process = self.launch()
        try:
            wait_until(
                lambda: process.poll() is not None or self.has_addresses(), timeout_s=self.start_s, what="the start"
            )
            assert process.poll() is None, self.text_of_log()
            self.management, self.inference = (self._address(plane) for plane in ("management", "inference"))
            wait_until(self._answers, timeout_s=self.start_s, what="the runtime")
        except BaseException:
            self.kill()
            raise
        return self

    def refusal(self, timeout_s: float = START_S) -> tuple[int, str]:
        """Launch it where it cannot start; return the exit code and the one line that says why.

        Raises:
            AssertionError: It starts, says more or less than that, or leaves something running.
        """
        before = len(self.text_of_log()) if self.log.exists() else 0
        try:
            code = self.launch().wait(timeout_s)
        finally:
            self.kill()
        self.wait_until_gone()
        said = self.text_of_log()[before:]
        assert "Traceback" not in said
        lines = [line for line in said.splitlines() if line.startswith("wfmgmt: ")]
        assert len(lines) == 1, said
        return code, lines[0]

    def wait_until_gone(self) -> None:
        """Wait until all of its processes have ended; the last ones may take a moment longer than the master."""
        wait_until(lambda: not pids_of(self.instance), timeout_s=10, what="the end of all its processes")

    def has_addresses(self) -> bool:
        """Return whether it has published where it listens."""
        return all((self.run_folder / f"{plane}.address").exists() for plane in ("management", "inference"))

    def _address(self, plane: str) -> str:
        return "http://" + (self.run_folder / f"{plane}.address").read_text().strip()

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.management}/ping", timeout=5).status_code == 200
        except (requests.ConnectionError, requests.Timeout):  # All web workers may be starting.
            return False

    def stop(self) -> int:
        """End it as an operator would; return its exit code."""
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=30)
        finally:
            self.kill()

    def kill(self) -> None:
        """Kill the whole process group at once."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(timeout=10)
            self.process = None

    def inference_metrics(self) -> str:
        """Return the metrics of the inference address as they are now; it keeps a text for a second."""

        def read() -> str:
            return requests.get(f"{self.inference}/metrics", timeout=PATIENCE_S).text

        kept = read()  # Each later text counts at least this request more.
        text: str = wait_until(lambda: (text := read()) != kept and text, what="new metrics")
        return text

    def text_of_log(self) -> str:
        """Return all that was logged."""
        return self.log.read_text(errors="replace")

    def register(self, url: str, **parameters: Any) -> requests.Response:
        """Register a workflow."""
        return requests.post(f"{self.management}/workflows", params={"url": url, **parameters}, timeout=150)

    def unregister(self, name: str) -> requests.Response:
        """Unregister a workflow."""
        return requests.delete(f"{self.management}/workflows/{name}", timeout=60)

    def predicts(self) -> bool:
        """Return whether the workflow `seq` answers."""
        try:
            return requests.post(f"{self.inference}/wfpredict/seq", data=b"x", timeout=5).status_code == 200
        except requests.RequestException:
            return False

    def describe(self, name: str) -> dict[str, Any]:
        """Return the one object of a description."""
        answer = requests.get(f"{self.management}/workflows/{name}", timeout=PATIENCE_S)
        assert answer.status_code == 200, answer.text
        described: dict[str, Any] = answer.json()[0]
        return described

    def ready_workers(self, name: str) -> list[int]:
        """Return how many workers of each node are ready, as last reported by the runtime."""
        return [node["readyWorkers"] for node in self.describe(name)["nodes"]]

    def names(self) -> list[str]:
        """Return the names of all registered workflows."""
        listed = requests.get(f"{self.management}/workflows", params={"limit": 1000}, timeout=PATIENCE_S).json()
        return [each["workflowName"] for each in listed["workflows"]]

    def worker_pids(self) -> list[int]:
        """Return the process ids of all worker processes of this deployment, and of the forkserver."""
        return [pid for pid in pids_of(self.instance) if is_forked(command_line(pid))]


def stored_files(store: Path) -> list[Path]:
    """Return the files in a store, hidden ones too, but for the lock of the service that uses it."""
    return sorted(path for path in store.iterdir() if path.name != STORE_LOCK)


def command_line(pid: int) -> str:
    """Return the command line of a process, which is its title once it has one; an empty text when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def is_runtime(line: str) -> bool:
    """Return whether a command line is that of a runtime, be it before it has its title."""
    return line.startswith("wfmgmt runtime ") or "wfmgmt.cli.main runtime" in line


def is_forked(line: str) -> bool:
    """Return whether a command line is that of a worker or of the forkserver."""
    return line.startswith("wfmgmt worker ") or "forkserver" in line


def parent_pid(pid: int) -> int | None:
    """Return the parent of a process, None when the process is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def pids_of(instance: Path) -> list[int]:
    """Return the processes that have an instance folder in their title or environment, of any parent.

    A title takes the place of the environment; what has none yet, or was started by a handler, has the variable.
    """
    return [
        int(entry.name)
        for entry in os.scandir("/proc")
        if entry.name.isdigit() and _belongs_to(Path(entry.path), str(instance))
    ]


def _belongs_to(process: Path, instance: str) -> bool:
    """Return whether a process that has not ended has an instance folder in its title or environment."""
    try:
        is_titled = command_line(int(process.name)).endswith((f"[{instance}]", f"[wfmgmt {instance}]"))
        if not is_titled and f"\0WFMGMT_INSTANCE={instance}\0".encode() not in b"\0" + _environment(process):
            return False
        return (process / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _environment(process: Path) -> bytes:
    """Return the environment of a process, nothing when it is hidden from us."""
    try:
        return (process / "environ").read_bytes()
    except PermissionError:
        return b""
