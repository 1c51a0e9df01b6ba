"""Responses of TorchServe's management API about models and workflows, parsed into values.

The parsers take decoded JSON and raise KeyError, TypeError, ValueError or AttributeError when it has another form.

Source:
    TorchServe 0.12.0, as recorded from a running server.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from wfmgmt.domain.workflow import SETTINGS, WORKFLOW_SETTINGS

WRONG_KEY = "InvalidKeyException"
UNKNOWN_PATH = "ResourceNotFoundException"
NOT_FOUND = frozenset({"ModelNotFoundException", "ModelVersionNotFoundException"})
CONFLICT = "ConflictStatusException"

#: Settings that the server shows of models and workflows alike.
_SETTINGS = tuple(setting for setting in SETTINGS if setting.api_name in WORKFLOW_SETTINGS)
GRAPH = "workflowDag"

#: What a server says about a workflow, by TorchServe's names for it: those settings and the graph.
Figures = dict[str, int | str]

_OFFSET = re.compile(r"[0-9]{1,9}")


class Listed(NamedTuple):
    """One line of a server's list of models or workflows; neither the name nor the url has been checked.

    Attributes:
        name: Its name on the server.
        url: Its archive, as it was named at registration.
    """

    name: str
    url: str


class ModelDetail(NamedTuple):
    """One version of a model; times are in TorchServe's own units.

    Attributes:
        version: Its version.
        url: Its archive, as it was named at registration.
        min_workers: Workers that the server keeps up.
        max_workers: Workers that the server allows.
        batch_size: Requests handed to the handler together.
        max_batch_delay_ms: Longest wait for a batch to fill.
        response_timeout_s: Longest run of one batch.
        workers: Its workers by their ids, each with its process, 0 for none yet, and whether it is up.
    """

    version: str
    url: str
    min_workers: int
    max_workers: int
    batch_size: int
    max_batch_delay_ms: int
    response_timeout_s: int
    workers: Mapping[str, tuple[int, bool]]

    @property
    def ready_workers(self) -> int:
        """How many workers are up."""
        return sum(is_ready for _, is_ready in self.workers.values())


def parse_page(kind: str, page: Mapping[str, Any]) -> tuple[list[Listed], int | None]:
    """Return the lines of one page of a list, and where the next page starts; None on the last one.

    Args:
        kind: `model` or `workflow`.
        page: The page.
    """
    listed = [Listed(_text(line[f"{kind}Name"]), _text(line[f"{kind}Url"])) for line in page[f"{kind}s"]]
    token = page.get("nextPageToken")
    if token is not None and not _OFFSET.fullmatch(_text(token)):
        raise ValueError(token)
    return listed, None if token is None else int(token)


def parse_model(values: Mapping[str, Any]) -> ModelDetail:
    """Return one version of a model."""
    return ModelDetail(
        version=str(values["modelVersion"]),
        url=str(values["modelUrl"]),
        response_timeout_s=int(values["responseTimeout"]),
        workers={
            str(worker["id"]): (max(int(worker.get("pid", 0)), 0), worker["status"] == "READY")
            for worker in values["workers"]
        },
        **{setting.field: int(values[setting.api_name]) for setting in _SETTINGS},
    )


def parse_figures(workflow: str, values: list[Mapping[str, Any]]) -> Figures:
    """Return what is said about the workflow of that name; what is left out there is left out here."""
    if values[0]["workflowName"] != workflow:
        raise ValueError(workflow)
    kinds = {**dict.fromkeys(WORKFLOW_SETTINGS, int), GRAPH: str}
    return {name: values[0][name] for name, kind in kinds.items() if type(values[0].get(name)) is kind}


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value
