"""TorchServe with its workflow API, as the comparison uses it."""

from collections.abc import Mapping
from pathlib import Path

import requests

from tests.support import real_torchserve
from tests.support.service import command_line

REGISTER_S = 180.0
_WORKER = "model_service_worker.py"


class TorchServe(real_torchserve.TorchServe):
    """One TorchServe over the stores that it is given.

    Args:
        venv: The virtual environment where it is installed.
        folder: For its configuration, logs and temporary files.
        workflow_store: Folder of the .war files.
        model_store: Folder of the .mar files.
        environment: Variables beside those of this process.
    """

    def __init__(
        self,
        venv: Path,
        folder: Path,
        *,
        workflow_store: Path,
        model_store: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        settings = {"workflow_store": workflow_store, "enable_metrics_api": "true"}
        super().__init__(venv, folder, model_store, settings=settings, environment=environment)

    def register(self, url: str, **parameters: str | int) -> requests.Response:
        """Register a workflow; the answer comes when its workers are up."""
        parameters = {"url": url, **parameters}
        return requests.post(f"{self.management}/workflows", params=parameters, timeout=REGISTER_S)

    def unregister(self, name: str) -> requests.Response:
        """Unregister a workflow; its workers may outlive the answer by a moment."""
        return requests.delete(f"{self.management}/workflows/{name}", timeout=REGISTER_S)

    def model_pids(self) -> list[int]:
        """Return the Python processes that run models and functions: those that Java started for them."""
        java = self.frontend_pid()
        return (
            [pid for pid in real_torchserve.children(java) if _WORKER in command_line(pid)] if java is not None else []
        )

    def own_pids(self) -> list[int]:
        """Return the processes that are there without any workflow: the launcher and Java."""
        java = self.frontend_pid()
        return [self.process.pid, java] if self.process is not None and java is not None else []
