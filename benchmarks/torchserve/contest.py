"""Both servers over the same archives, and how they take turns."""

import contextlib
import itertools
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import requests

from benchmarks.torchserve.comparison import SERVERS, TORCHSERVE
from benchmarks.torchserve.server import TorchServe
from examples import build
from tests.support.service import Service, parent_pid, pids_of, wait_until

_SPEC = Path(__file__).with_name("single.yaml")
_PREDICT_S = 60.0
Result = TypeVar("Result")


class Server(Protocol):
    """What the comparison asks of a server that runs."""

    inference: str

    def register(self, url: str, **parameters: str) -> requests.Response:
        """Register a workflow; the answer comes when its workers are up."""
        ...

    def unregister(self, name: str) -> requests.Response:
        """Unregister a workflow."""
        ...

    def model_pids(self) -> list[int]:
        """Return the processes that run models and functions of workflows."""
        ...

    def own_pids(self) -> list[int]:
        """Return the processes that are there without any workflow."""
        ...


class Wfmgmt(Service):
    """wfmgmt as a deployment starts it."""

    def model_pids(self) -> list[int]:
        """Return the processes that run models and functions, without the forkserver, which is their parent."""
        pids = self.worker_pids()
        return [pid for pid in pids if parent_pid(pid) in pids]

    def own_pids(self) -> list[int]:
        """Return the processes that are there without any workflow: gunicorn's, the runtime and the forkserver."""
        return sorted(set(pids_of(self.instance)) - set(self.model_pids()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How long and how often to measure.

    Attributes:
        rounds: Of each measurement, the servers taking turns.
        seconds: Length of a round under load.
        workflows: How many are registered where many are.
        requests: How many are sent one after another where stalls are looked for.
    """

    rounds: int
    seconds: int
    workflows: int
    requests: int


class Contest:
    """The archives and the servers.

    Args:
        venv: Where TorchServe is installed.
        folder: For archives and all that the servers write.
        names: The servers that take part.
    """

    def __init__(self, venv: Path, folder: Path, names: Sequence[str] = SERVERS) -> None:
        self.folder = folder
        self.names = names
        self._venv = venv
        self._stores: dict[str, Any] = {
            "workflow_store": folder / "workflow_store",
            "model_store": folder / "model_store",
        }
        build.build(**self._stores)
        self._build_single()
        self._started = 0

    def _build_single(self) -> None:
        handler = self.folder / "no_functions.py"
        # The archiver fails without a handler, even though this graph has no functions.
        handler.touch()
        program, store = build.BIN / "torch-workflow-archiver", self._stores["workflow_store"]
        options = ("--workflow-name", "single", "--spec-file", _SPEC, "--handler", handler, "--export-path", store)
        subprocess.run([program, *options], check=True)

    def create(self, name: str) -> TorchServe | Wfmgmt:
        """Return a server that does not run yet, with no memory of any other."""
        return self.create_torchserve() if name == TORCHSERVE else self._create_wfmgmt()

    def create_torchserve(self) -> TorchServe:
        """Return a TorchServe that does not run yet."""
        return TorchServe(self._venv, self._new_folder(), **self._stores)

    def create_over(self, torchserve: TorchServe) -> Wfmgmt:
        """Return a wfmgmt that does not run yet and has its models on a TorchServe that does."""
        return self._create_wfmgmt(
            model_server="torchserve",
            torchserve_management_urls=torchserve.management,
            torchserve_inference_urls=torchserve.inference,
        )

    def _create_wfmgmt(self, **settings: str) -> Wfmgmt:
        every: dict[str, Any] = {**self._stores, **settings}
        return Wfmgmt(self._new_folder(), web_workers=2, **every)

    def _new_folder(self) -> Path:
        self._started += 1
        return self.folder / f"server-{self._started}"

    @contextlib.contextmanager
    def run(self, *workflows: str) -> Iterator[dict[str, Server]]:
        """Run the servers, with workflows registered in each, by their names."""
        with contextlib.ExitStack() as stack:
            servers: dict[str, Server] = {}
            for name in self.names:
                server = self.create(name)
                stack.enter_context(server)
                servers[name] = server
            for each, workflow in itertools.product(servers.values(), workflows):
                register(each, workflow)
            yield servers


def register(server: Server, workflow: str, name: str | None = None) -> None:
    """Register a workflow, under a name of its own if there is one."""
    answer = server.register(f"{workflow}.war", **({} if name is None else {"workflow_name": name}))
    assert answer.ok, answer.text


def unregister(server: Server, workflow: str) -> None:
    """Unregister a workflow."""
    answer = server.unregister(workflow)
    assert answer.ok, answer.text


def wait_for_answer(server: Server, workflow: str, body: bytes = b"good") -> bytes:
    """Return the first good answer of a workflow: starting takes its time, and TorchServe loses answers."""
    found: bytes = wait_until(
        lambda: _answer(server, workflow, body), timeout_s=_PREDICT_S, what=f"an answer of {workflow}"
    )
    return found


def _answer(server: Server, workflow: str, body: bytes) -> bytes | None:
    url = f"{server.inference}/wfpredict/{workflow}"
    headers = {"Content-Type": "application/octet-stream"}
    try:
        answer = requests.post(url, data=body, headers=headers, timeout=_PREDICT_S)
    except requests.RequestException:
        return None
    return answer.content if answer.ok else None


def alternate(
    servers: Mapping[str, Server], rounds: int, measure: Callable[[Server], Result]
) -> dict[str, list[Result]]:
    """Measure each server in turn, again and again, so that a machine that changes its speed changes it for both."""
    results: dict[str, list[Result]] = {name: [] for name in servers}
    for _ in range(rounds):
        for name, server in servers.items():
            results[name].append(measure(server))
    return results
