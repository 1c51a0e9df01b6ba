"""Values for tests of the store, each with sensible defaults that a test overrides."""

import uuid
from pathlib import Path
from typing import Any

from wfmgmt.domain.audit import AuditAction, AuditEvent, AuditOutcome, Origin
from wfmgmt.domain.workflow import NodeKind, NodeSettings
from wfmgmt.store.records import NewNode, NewWorkflow
from wfmgmt.store.schema import upgrade
from wfmgmt.store.store import Store

SHA = "a" * 64


def make_store(folder: Path) -> Store:
    """Return a store over a new SQLite file with the current schema."""
    url = f"sqlite:///{folder / 'wfmgmt.db'}"
    upgrade(url)
    return Store(url)


def make_node(name: str = "m1", **overrides: Any) -> NewNode:
    """Return a model node."""
    values: dict[str, Any] = {
        "name": name,
        "kind": NodeKind.MODEL,
        "model_url": f"{name}.mar",
        "model_file": f"{name}.mar",
        "model_downloaded": False,
        "model_sha256": SHA,
        "settings": NodeSettings(),
    }
    return NewNode(**{**values, **overrides})


def make_function(name: str) -> NewNode:
    """Return a function node."""
    return make_node(name, kind=NodeKind.FUNCTION, model_url=None, model_file=None, model_sha256=None)


def make_workflow(name: str = "seq", **overrides: Any) -> NewWorkflow:
    """Return a sequential workflow of three nodes."""
    values: dict[str, Any] = {
        "uid": uuid.uuid4().hex,
        "name": name,
        "url": f"{name}.war",
        "archive_file": f"{name}.war",
        "archive_downloaded": False,
        "archive_sha256": SHA,
        "handler": "handler.py",
        "spec": "dag: {}\n",
        "dag": "{pre=[m1], m1=[post]}",
        "lease": "lease",
        "defaults": NodeSettings(),
        "response_timeout_s": 120,
        "startup_timeout_s": 120,
        "nodes": (make_function("pre"), make_node("m1"), make_function("post")),
        "edges": (("pre", "m1"), ("m1", "post")),
    }
    return NewWorkflow(**{**values, **overrides})


def make_event(workflow: str = "seq", **overrides: Any) -> AuditEvent:
    """Return the event of a registration that succeeded."""
    values: dict[str, Any] = {
        "origin": Origin(actor="anonymous", address="127.0.0.1", request_id="r1"),
        "action": AuditAction.REGISTER,
        "workflow": workflow,
        "outcome": AuditOutcome.SUCCEEDED,
        "detail": {"archive_sha256": SHA},
    }
    return AuditEvent(**{**values, **overrides})


def register(store: Store, *names: str) -> None:
    """Record ready workflows."""
    for name in names:
        new = make_workflow(name)
        with store.write() as writer:
            writer.claim_name(new)
            writer.mark_ready(new.uid)
            writer.record(make_event(name))
