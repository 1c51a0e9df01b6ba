"""What to do about problems: sentences with the exact command or setting, chosen by what is known of the cause."""

import re
from collections.abc import Mapping

from wfmgmt.domain.explaining.facts import Facts, NodeFacts
from wfmgmt.domain.explaining.words import node_argument
from wfmgmt.domain.faults import Fault

_RETRY = "It is loaded again by itself, with pauses of up to 5 minutes; wfmgmt reconcile does it now."
_NEW_VERSION = (
    "register the corrected archive: wfmgmt register ARCHIVE --name {workflow} --version NEW --set-default. "
    "The traceback: wfmgmt logs {label}{node}"
)
#: By whose fault it is.
FAULT_HINTS: Mapping[Fault, str] = {
    Fault.MODEL: f"Fix the handler and {_NEW_VERSION}.",
    Fault.ARCHIVE: f"The archive lacks what its manifest names: build it anew and {_NEW_VERSION}.",
    Fault.FILE: f"Put the registered archive back into its store (describe has its digest). {_RETRY} "
    "Or register another version.",
    Fault.NAME_TAKEN: f"Unregister the model of that name on the TorchServe server, unless it is needed. {_RETRY}",
    Fault.UNREACHABLE: "Check that the model server runs and is reached at WFMGMT_TORCHSERVE_MANAGEMENT_URLS; "
    f"with local models read the service's log. {_RETRY}",
    Fault.FAILED: f"Read the log of the model server. {_RETRY}",
    Fault.TIMED_OUT: f"Look at the load of the model server, or raise WFMGMT_TORCHSERVE_TIMEOUT_S. {_RETRY}",
    Fault.NO_ROOM: "Raise WFMGMT_MAX_WORKERS and restart the service, free memory or processes of the host, or give "
    f"workers back: wfmgmt scale NAME --min 0. {_RETRY}",
}
#: When the disk is full.
SPACE_HINT = f"Free space on the disk of the instance. {_RETRY}"
_IMPORT_HINT = (
    "Install the module into the environment of the service (pip install …) and restart the service, or list it in the "
    "archive's requirements.txt and set WFMGMT_MODEL_REQUIREMENTS=install."
)
_STARTUP_HINT = (
    "Give its workers more time: wfmgmt register ARCHIVE --name {workflow} --version NEW --startup-timeout SECONDS "
    "--set-default; or find out what takes so long: wfmgmt logs {label}{node}."
)
#: What a reason tells of the cause, by a pattern, before its fault does.
REASON_HINTS: Mapping[str, str] = {
    r"No module named|ModuleNotFoundError|ImportError": _IMPORT_HINT,
    r"startup_timeout": _STARTUP_HINT,
    r"WFMGMT_MAX_WORKERS": FAULT_HINTS[Fault.NO_ROOM],
}
_SERVER_HINT = (
    "Read the log of that model server. The model is registered there again by itself; wfmgmt reconcile does it now."
)
_MEMORY_HINT = (
    "Raise WFMGMT_WORKER_MEMORY_MB, if it is set, and restart the service, or use a smaller batch: "
    "wfmgmt update {label}{node} --batch-size N."
)
#: By how a worker ended.
GONE_HINTS: Mapping[str, str] = {
    r"SIGKILL": "The kernel may have been out of memory (dmesg | grep -i oom), or it took longer than "
    "timeout-ms: wfmgmt logs {label}{node}. Fewer workers take less memory: wfmgmt scale {label}{node} --max N.",
    r"MemoryError|WFMGMT_WORKER_MEMORY_MB": _MEMORY_HINT,
    **REASON_HINTS,
    r"TorchServe at": _SERVER_HINT,
    r"": "It is started again by itself; if it goes on, read what it wrote last: wfmgmt logs {label}{node}.",
}
#: By the last attempt that failed.
FAILURE_HINTS: Mapping[str, str] = {
    r"timeout-ms": "Allow more time (wfmgmt update {label}{node} --timeout-ms MS), or find out why the handler "
    "takes so long: wfmgmt logs {label}{node}.",
    r"MemoryError|WFMGMT_WORKER_MEMORY_MB": _MEMORY_HINT,
    r"its worker was killed|SIGKILL": GONE_HINTS["SIGKILL"],
    r"has no worker": "wfmgmt logs {label}{node} says why none was up; requests go on once one is.",
    r"WFMGMT_QUEUE_SIZE": "More workers take more requests: wfmgmt scale {label}{node} --max N; WFMGMT_QUEUE_SIZE "
    "says how many may wait.",
    r"No module named|ModuleNotFoundError|ImportError": _IMPORT_HINT,
    r"": "Read the traceback: wfmgmt logs {label}{node}. If it began with a change: wfmgmt releases {workflow}, then "
    "wfmgmt rollback {workflow}.",
}


def matching(hints: Mapping[str, str], reason: str) -> str | None:
    """Return the first hint whose pattern is in a reason."""
    return next((hint for pattern, hint in hints.items() if re.search(pattern, reason)), None)


def filled(hint: str, facts: Facts, node: NodeFacts | None = None) -> str:
    """Return a hint with the names of the workflow and of the node in it."""
    argument = "" if node is None else f" --node {node_argument(node.name)}"
    return hint.format(workflow=facts.workflow, label=facts.label, node=argument)


def override_hint(facts: Facts, node: NodeFacts) -> str:
    """Say that settings are not those of the spec, and how they become that again."""
    if not node.overridden:
        return ""
    back = filled("wfmgmt update {label}{node} --reset", facts, node)
    return f" Other than in the spec: {', '.join(node.overridden)}; back to it: {back}."
