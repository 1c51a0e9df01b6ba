"""The requests that the service understands: one function for each, which says what is sent and what comes back.

`Client` sends them, and has a method of the same name for each; the commands send them, too, or print them for curl.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal, TypeVar, Unpack

from wfmgmt.client.answers import Accepted, Health, Log, LogLine, Page, Predicted, Registered, Scaled, Status, Workflow
from wfmgmt.client.call import (
    IDEMPOTENCY_KEY,
    Answer,
    Call,
    Plane,
    WriteOptions,
    as_json,
    given,
    path_of,
    reader,
    reading,
    writing,
)
from wfmgmt.client.errors import NotReady
from wfmgmt.client.explain import Explanation
from wfmgmt.client.operations import registered, released
from wfmgmt.client.plans import Diff, Plan
from wfmgmt.client.traffic import Release, Released, Releases, RoutingTable, Traffic

T = TypeVar("T")
#: What the service takes to load a workflow, on top of the time that its workers have.
_MARGIN_S = 30
MAX_PAGE = 1000
WorkflowState = Literal["ready", "loading", "failed", "registering", "unregistering", "all"]
GraphFormat = Literal["svg", "dot", "mermaid", "text"]
RolloutAction = Literal["pause", "resume", "promote", "abort"]


def ping() -> Call[Health]:
    """Say whether everything runs, or what does not."""
    return reading("/ping", reader(Health))


def page(*, after: str = "", limit: int = MAX_PAGE) -> Call[Page]:
    """List the workflows whose names follow another one.

    Args:
        after: That name; empty for the start.
        limit: Workflows at most, 1 to 1000.
    """
    return reading("/workflows", reader(Page), after=after, limit=limit)


def listed(
    *,
    state: WorkflowState | None = None,
    name: str | None = None,
    node: str | None = None,
    token: str | None = None,
    limit: int = MAX_PAGE,
) -> Call[Page]:
    """List workflows by their state, with registrations and removals that are under way.

    Args:
        state: Of those wanted; those that are registered unless given.
        name: Their name, or the beginning of their names with a `*` behind it.
        node: The same of a node that they have.
        token: The `next_page_token` of the page before.
        limit: Workflows at most, 1 to 1000.
    """
    name = name or (None if state or node else "*")
    query = {"state": state, "name": name, "node": node, "next_page_token": token, "limit": limit}
    return reading("/workflows", reader(Page), **query)


def register(
    url: str = "",
    *,
    archive: Path | None = None,
    models: Sequence[Path] = (),
    name: str | None = None,
    version: str | None = None,
    set_default: bool | None = None,
    response_timeout_s: int | None = None,
    startup_timeout_s: int | None = None,
    **options: Unpack[WriteOptions],
) -> Call[Registered]:
    """Register a workflow, or another version of one; answered when all its workers are up.

    Args:
        url: Name of a .war in the workflow store, or an http(s) URL; not given with an archive.
        archive: A .war here, which is sent along.
        models: Archives of its models here, likewise.
        name: What to call it; the archive's own name unless given.
        version: What to call this version; needed for all but the first one.
        set_default: Whether this version then gets all requests.
        response_timeout_s: Seconds in which the workflow has to answer a request.
        startup_timeout_s: Seconds in which all workers have to be up.
        options: What every change takes.
    """
    query = given(
        url=url or None,
        workflow_name=name,
        version=version,
        set_default=set_default,
        response_timeout=response_timeout_s,
        startup_timeout=startup_timeout_s,
    )
    takes_s = 0 if startup_timeout_s is None else startup_timeout_s + _MARGIN_S
    files = [*(("model", path) for path in models), *([] if archive is None else [("archive", archive)])]
    call = writing("POST", "/workflows", reader(Registered), query=query, takes_s=takes_s, **options)
    return replace(call, form=files, of_operation=partial(registered, is_named=version is not None))


def later(call: Call[T]) -> Call[Accepted | T]:
    """Return the request that has a change carried out later: `client.send(calls.later(calls.set_default(…)))`.

    Registrations always are; releases that have nothing to load are made at once.
    """
    return replace(or_accepted(call), query={**call.query, **given(synchronous=False)}, takes_s=0)


def or_accepted(call: Call[T]) -> Call[Accepted | T]:
    """Return the request of which the operation is the value, should the service make one of it to be done later."""
    read_accepted: Callable[[Answer], Accepted] = reader(Accepted)

    def read(answer: Answer) -> Accepted | T:
        return read_accepted(answer) if answer.status == HTTPStatus.ACCEPTED else call.read(answer)

    return call.reading_as(read)


def describe(name: str, *, version: str | None = None) -> Call[Workflow]:
    """Describe a version of a workflow; the default version unless one is named."""
    read = reader(tuple[Workflow])
    return reading(path_of(name, version), lambda answer: read(answer)[0])


def versions(name: str) -> Call[tuple[Workflow, ...]]:
    """Describe all versions of a workflow."""
    return reading(path_of(name, "all"), reader(tuple[Workflow, ...]))


def logs(
    name: str, *, version: str | None = None, node: str | None = None, lines: int | None = None
) -> Call[tuple[LogLine, ...]]:
    """Return the last lines of the log about a version of a workflow, the oldest first.

    Args:
        name: The workflow.
        version: Its version; the default one unless given.
        node: Lines about this node only.
        lines: Lines at most; 100 unless given.
    """
    read = reader(Log)
    return reading(f"{path_of(name, version)}/logs", lambda answer: read(answer).lines, node=node, lines=lines)


def explain(name: str, *, version: str | None = None) -> Call[Explanation]:
    """Explain why a version of a workflow is not ready or slow, and what to do; the default one unless one is named."""
    return reading(f"{path_of(name, version)}/explain", reader(Explanation))


def explained_text(name: str, *, version: str | None = None) -> Call[str]:
    """Return the same as text for people."""
    call = reading(f"{path_of(name, version)}/explain", lambda answer: answer.body.decode())
    return replace(call, headers={"Accept": "text/plain"})


def graph(name: str, *, version: str | None = None, graph_format: GraphFormat = "svg") -> Call[str]:
    """Draw the graph of a version of a workflow.

    Args:
        name: The workflow.
        version: Its version; the default one unless given.
        graph_format: What to draw it as.
    """
    return reading(f"{path_of(name, version)}/graph", lambda answer: answer.body.decode(), format=graph_format)


def unregister(name: str, *, version: str | None = None, **options: Unpack[WriteOptions]) -> Call[Status]:
    """Unregister a workflow, or one version of it; answered when its workers are gone."""
    return writing("DELETE", path_of(name, version), reader(Status), **options)


def diff(name: str, old: str, new: str) -> Call[Diff]:
    """Say what differs between two versions."""
    return reading(f"{path_of(name)}/diff", reader(Diff), **{"from": old, "to": new})


def release_page(name: str, *, before: int | None = None, limit: int = MAX_PAGE) -> Call[tuple[Release, ...]]:
    """List releases of a workflow, the newest first.

    Args:
        name: The workflow.
        before: List those before the one with this number; the newest ones unless given.
        limit: Releases at most, 1 to 1000.
    """
    read = reader(Releases)
    return reading(f"{path_of(name)}/releases", lambda answer: read(answer).releases, before=before, limit=limit)


def release(name: str, number: int) -> Call[Release]:
    """Return one release of a workflow."""
    return reading(f"{path_of(name)}/releases/{number}", reader(Release))


def set_default(name: str, version: str, **options: Unpack[WriteOptions]) -> Call[Released]:
    """Send all requests to one version; answered when they go there."""
    return _releasing("PUT", f"{path_of(name, version)}/set-default", **options)


def traffic(name: str) -> Call[Traffic]:
    """Return which version gets which share, with figures of the last minute."""
    return reading(f"{path_of(name)}/traffic", reader(Traffic))


def set_traffic(name: str, table: RoutingTable | Mapping[str, Any], **options: Unpack[WriteOptions]) -> Call[Released]:
    """Say which version gets which share, in a table or its JSON; answered when requests go that way."""
    body = as_json(table) if isinstance(table, RoutingTable) else table
    return _releasing("PUT", f"{path_of(name)}/traffic", body=body, **options)


def set_share(name: str, version: str, weight: int, **options: Unpack[WriteOptions]) -> Call[Released]:
    """Give one version a share, in percent, which the default version gives up."""
    query = given(version=version, weight=weight)
    return _releasing("PUT", f"{path_of(name)}/traffic", query=query, **options)


def rollout(name: str, action: RolloutAction, **options: Unpack[WriteOptions]) -> Call[Released]:
    """Pause a rollout, resume it, give the candidate everything at once, or give it nothing."""
    return _releasing("POST", f"{path_of(name)}/rollout", query=given(action=action), **options)


def rollback(name: str, *, to: int | None = None, **options: Unpack[WriteOptions]) -> Call[Released]:
    """Repeat the release before the current one, or an older one by its number."""
    return _releasing("POST", f"{path_of(name)}/rollback", query=given(to=to), **options)


def _releasing(
    method: str,
    path: str,
    *,
    query: Mapping[str, str] | None = None,
    body: object = None,
    **options: Unpack[WriteOptions],
) -> Call[Released]:
    """Return a request for a release, which is an operation when it has to load versions."""
    call: Call[Released] = writing(method, path, reader(Released), query=query, body=body, **options)
    return replace(call, of_operation=released)


def scale(
    name: str,
    *,
    version: str | None = None,
    node: str | None = None,
    min_workers: int | None = None,
    max_workers: int | None = None,
    wait: bool = True,
    timeout_s: int | None = None,
    **options: Unpack[WriteOptions],
) -> Call[Scaled]:
    """Change how many workers a node has; every model node unless one is named.

    Args:
        name: The workflow.
        version: Its version; the default one unless given.
        node: The node.
        min_workers: Workers that are always up; as it is unless given.
        max_workers: Workers at most; as it is unless given.
        wait: Whether to wait for the workers; a `NotReady` says that they took too long. If not, the answer has the
            `id` of the operation that follows them.
        timeout_s: How long the service waits for them.
        options: What every change takes.
    """
    query = given(min_worker=min_workers, max_worker=max_workers, synchronous=wait, timeout=timeout_s)
    takes_s = 0 if timeout_s is None else timeout_s + _MARGIN_S
    return writing("PUT", path_of(name, version, node), _scaled, query=query, takes_s=takes_s, **options)


def update(
    name: str,
    node: str,
    *,
    version: str | None = None,
    batch_size: int | None = None,
    max_batch_delay_ms: int | None = None,
    timeout_ms: int | None = None,
    retry_attempts: int | None = None,
    **options: Unpack[WriteOptions],
) -> Call[Scaled]:
    """Change settings of a node from its next batch on, without restarting a worker; what is not given stays."""
    query = given(
        batch_size=batch_size,
        max_batch_delay=max_batch_delay_ms,
        timeout_ms=timeout_ms,
        retry_attempts=retry_attempts,
    )
    return writing("PUT", path_of(name, version, node), _scaled, query=query, **options)


def reset(name: str, node: str, *, version: str | None = None, **options: Unpack[WriteOptions]) -> Call[Scaled]:
    """Give a node the settings of the spec back."""
    return writing("DELETE", f"{path_of(name, version, node)}/overrides", reader(Scaled), **options)


def planned(call: Call[Any]) -> Call[Plan]:
    """Return the request that finds out what a change would do, without making it.

    Raises:
        ValueError: The request changes nothing.
    """
    if not call.is_write:
        raise ValueError("this changes nothing, so there is nothing to plan")
    query = {**call.query, **given(dry_run=True)}
    headers = {name: value for name, value in call.headers.items() if name != IDEMPOTENCY_KEY}
    read: Callable[[Answer], Plan] = reader(Plan)
    return replace(call, query=query, headers=headers, read=read)


def predict(
    name: str,
    data: bytes = b"",
    *,
    version: str | None = None,
    node: str | None = None,
    headers: Mapping[str, str] | None = None,
    trace: bool = False,
) -> Call[Predicted]:
    """Send a request through a workflow, or to one of its nodes.

    Args:
        name: The workflow.
        data: The body, which the first node gets.
        version: Its version; chosen by the service unless given.
        node: The only node that is to answer; the whole graph does unless given.
        headers: Like `Content-Type`, or those that handlers read.
        trace: Whether to ask what happened at each node.
    """
    return Call(
        method="POST",
        path=path_of(name, version, root="/wfpredict")
        if node is None
        else path_of(f"{name}__{node}", version, root="/predictions"),
        query=given(trace=1 if trace else None),
        headers=headers or {},
        body=data,
        plane=Plane.INFERENCE,
        read=_predicted,
    )


def _scaled(answer: Answer) -> Scaled:
    scaled: Scaled = reader(Scaled)(answer)
    if answer.status == HTTPStatus.PARTIAL_CONTENT:
        raise NotReady(" ".join(filter(None, (scaled.status, scaled.problem, scaled.operation))))
    return scaled


def _predicted(answer: Answer) -> Predicted:
    headers = answer.headers
    return Predicted(
        content=answer.body,
        content_type=headers.get("Content-Type", ""),
        version=headers.get("x-workflow-version"),
        trace=headers.get("x-wfmgmt-trace"),
    )
