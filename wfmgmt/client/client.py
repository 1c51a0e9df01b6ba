"""The client: one method for each thing that the service can do."""

import inspect
import time
from collections.abc import Callable, Iterator
from functools import wraps
from http import HTTPStatus
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, get_args

from wfmgmt.client import archive_calls, audit_calls, calls, declared_calls, operation_calls, token_calls
from wfmgmt.client.answers import Accepted, ListedWorkflow, Workflow
from wfmgmt.client.call import Call, Plane, reader
from wfmgmt.client.connection import Connection
from wfmgmt.client.errors import MalformedAnswer, NotReady, ServiceUnavailable, Unreachable
from wfmgmt.client.operations import Operation
from wfmgmt.client.plans import Plan
from wfmgmt.client.traffic import Release

DEFAULT_URL = "http://127.0.0.1:8081"
DEFAULT_INFERENCE_URL = "http://127.0.0.1:8080"
#: Longer than a service takes that has to wait for its runtime, and for workers to come up.
DEFAULT_TIMEOUT_S = 150.0
_POLL_S = 0.2
#: How long the service is asked to wait for the end of an operation.
_MAX_WAIT_S = 20

P = ParamSpec("P")
T = TypeVar("T")


def _sending(build: Callable[P, Call[T]]) -> Callable[Concatenate["Client", P], T]:
    """Return a method that sends what a function describes, with the arguments and docs of that function."""

    @wraps(build)
    def method(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.send(build(*args, **kwargs))

    signature = inspect.signature(build)
    this = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    (returned,) = get_args(signature.return_annotation)
    shown = signature.replace(parameters=[this, *signature.parameters.values()], return_annotation=returned)
    method.__signature__ = shown  # type: ignore[attr-defined] # functions may have one, which mypy does not know
    return method


class Client:
    """A client of one service; for one thread at a time.

    Every method raises what `send` raises. Writes carry an `Idempotency-Key`: a request whose connection was lost is
    sent again under the same key, and carried out once.

    Args:
        url: The management address.
        inference_url: The inference address, which only predictions need; known only for the default `url`.
        token: Sent as `Authorization: Bearer`, if given.
        timeout_s: How long an answer may take.

    Raises:
        ValueError: A URL is not the address of a server.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        inference_url: str | None = None,
        token: str = "",
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        if inference_url is None and url == DEFAULT_URL:
            inference_url = DEFAULT_INFERENCE_URL
        urls = {Plane.MANAGEMENT: url, **({Plane.INFERENCE: inference_url} if inference_url else {})}
        self._timeout_s = timeout_s
        self.connection = Connection(urls, token=token, timeout_s=timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that are kept."""
        self.connection.close()

    def send(self, call: Call[T]) -> T:
        """Send a request and return what its answer says.

        Raises:
            Refused: The service answered with an error.
            Unreachable: No connection could be made, or it was lost.
            TimedOut: The answer did not come in time.
            MalformedAnswer: The answer is not of this service.
            NotReady: The service carries the request out later than others, and was not done with it in time.
            ValueError: A prediction, and the inference address was not given.
        """
        answer = self.connection.exchange(call)
        if answer.status != HTTPStatus.ACCEPTED or call.of_operation is None:
            return call.read(answer)
        accepted: Accepted = reader(Accepted)(answer)
        return call.of_operation(self.wait(accepted.id, max(self._timeout_s, call.takes_s)))

    ping = _sending(calls.ping)
    page = _sending(calls.page)
    listed = _sending(calls.listed)
    operations = _sending(operation_calls.operations)
    operation = _sending(operation_calls.operation)
    last_operation = _sending(operation_calls.last_operation)
    cancel = _sending(operation_calls.cancel)
    archives = _sending(archive_calls.archives)
    archive = _sending(archive_calls.archive)
    upload = _sending(archive_calls.upload)
    remove_archive = _sending(archive_calls.remove_archive)
    events = _sending(audit_calls.events)
    event = _sending(audit_calls.event)
    audit_head = _sending(audit_calls.audit_head)
    whoami = _sending(token_calls.whoami)
    tokens = _sending(token_calls.tokens)
    create_token = _sending(token_calls.create_token)
    revoke_token = _sending(token_calls.revoke_token)
    register = _sending(calls.register)
    apply = _sending(declared_calls.apply)
    drift = _sending(declared_calls.drift)
    describe = _sending(calls.describe)
    versions = _sending(calls.versions)
    graph = _sending(calls.graph)
    logs = _sending(calls.logs)
    explain = _sending(calls.explain)
    explained_text = _sending(calls.explained_text)
    unregister = _sending(calls.unregister)
    diff = _sending(calls.diff)
    release_page = _sending(calls.release_page)
    release = _sending(calls.release)
    set_default = _sending(calls.set_default)
    traffic = _sending(calls.traffic)
    set_traffic = _sending(calls.set_traffic)
    set_share = _sending(calls.set_share)
    rollout = _sending(calls.rollout)
    rollback = _sending(calls.rollback)
    scale = _sending(calls.scale)
    update = _sending(calls.update)
    reset = _sending(calls.reset)
    predict = _sending(calls.predict)

    def register_later(self, url: str, **arguments: Any) -> Accepted:  # noqa: ANN401 - those of `register`
        """Have a workflow registered by the service on its own, with the arguments of `register`."""
        accepted = self.send(calls.later(calls.register(url, **arguments)))
        if not isinstance(accepted, Accepted):
            raise MalformedAnswer("The service carried out at once what was to be done later.")
        return accepted

    def wait(self, uid: str, timeout_s: float) -> Operation:
        """Wait until an operation is done, and return it.

        Raises:
            NotReady: The time is over.
            OperationNotFound: There is no such operation.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            operation = self.operation(uid, wait_s=max(0, min(_MAX_WAIT_S, int(deadline - time.monotonic()))))
            if operation.done:
                return operation
            if time.monotonic() >= deadline:
                raise NotReady(f"Operation {uid} was not done within {timeout_s:g} s.")
            time.sleep(_POLL_S)  # The service does not wait itself while too many others do.

    def plan(self, call: Call[Any]) -> Plan:
        """Find out what a change would do, without making it: `client.plan(calls.scale("seq", max_workers=4))`."""
        return self.send(calls.planned(call))

    def list(self) -> Iterator[ListedWorkflow]:
        """Yield all workflows in name order, fetching a page when it is needed."""
        after: str | None = ""
        while after is not None:
            page = self.page(after=after)
            yield from page.workflows
            after = page.next_after

    def releases(self, name: str) -> Iterator[Release]:
        """Yield all releases of a workflow, the newest first, fetching a page when it is needed."""
        before: int | None = None
        while page := self.release_page(name, before=before):
            yield from page
            before = page[-1].number
            if len(page) < calls.MAX_PAGE:
                return

    def wait_until_ready(self, name: str, timeout_s: float, *, version: str | None = None) -> Workflow:
        """Wait until all workers of a workflow, or of one version, are up that have to be, and return its description.

        A service that is not there, or cannot answer now, is waited for; a workflow that is not registered is not.

        Raises:
            NotReady: The time is over; the text says what was missing last.
            WorkflowNotFound: There is no such workflow.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                workflow = self.describe(name, version=version)
            except (Unreachable, ServiceUnavailable) as error:
                missing = str(error)
            else:
                if workflow.is_ready:
                    return workflow
                missing = _missing(workflow)
            if time.monotonic() >= deadline:
                raise NotReady(f"Workflow {name} was not ready within {timeout_s:g} s: {missing}")
            time.sleep(_POLL_S)  # The service learns about workers once a second.


def _missing(workflow: Workflow) -> str:
    """Return why a workflow is not ready."""
    nodes = [node for node in workflow.nodes if not node.is_ready]
    missing = [f"{each.name}: {each.error or f'{each.ready_workers} of {each.min_workers} workers'}" for each in nodes]
    return "; ".join([f"version {workflow.version} is {workflow.state}", *missing])
