"""The requests that the service understands: one function for each, which says what is sent and what comes back.

`Client` sends them, and has a method of the same name for each; the commands send them, too, or print them for curl.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar
from urllib.parse import quote, urlencode

from pydantic import TypeAdapter, ValidationError

from wfmgmt.client.answers import Health, Page, Registered, Status, Workflow
from wfmgmt.client.errors import MalformedAnswer

T = TypeVar("T")
#: What the service takes to load a workflow, on top of the time that its workers have.
_MARGIN_S = 30
MAX_PAGE = 1000


class Plane(StrEnum):
    """The two addresses of a service."""

    MANAGEMENT = "management"
    INFERENCE = "inference"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer as it came.

    Attributes:
        status: The HTTP status, below 300.
        headers: By name, in any case.
        body: The bytes.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """One request, and how its answer is read.

    Attributes:
        method: Of HTTP.
        path: With everything quoted that has to be.
        read: Makes a value of the answer.
        query: Parameters.
        headers: Beside those of every request.
        body: What is sent, if anything.
        plane: To which address.
        takes_s: How long the service may need, when that is longer than usual.
    """

    method: str
    path: str
    read: Callable[[Answer], T]
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    plane: Plane = Plane.MANAGEMENT
    takes_s: float = 0

    @property
    def target(self) -> str:
        """Path and query."""
        return f"{self.path}?{urlencode(self.query, quote_via=quote)}" if self.query else self.path

    @property
    def is_write(self) -> bool:
        """Whether it changes what is registered, so that it has to be carried out once, however often it is sent."""
        return self.plane is Plane.MANAGEMENT and self.method != "GET"


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """The answer of a workflow.

    Attributes:
        content: The bytes.
        content_type: As the leaf's handler set it.
        trace: What happened at each node, as JSON, when that was asked for.
    """

    content: bytes
    content_type: str
    trace: str | None

    @property
    def text(self) -> str:
        """The content as text."""
        return self.content.decode(errors="replace")


def register(
    url: str, *, name: str | None = None, response_timeout_s: int | None = None, startup_timeout_s: int | None = None
) -> Call[Registered]:
    """Register a workflow; answered when all its workers are up.

    Args:
        url: Name of a .war in the workflow store, or an http(s) URL.
        name: What to call it; the archive's own name unless given.
        response_timeout_s: Seconds in which the workflow has to answer a request.
        startup_timeout_s: Seconds in which all workers have to be up.
    """
    query = _query(url=url, workflow_name=name, response_timeout=response_timeout_s, startup_timeout=startup_timeout_s)
    takes_s = (startup_timeout_s or 0) + _MARGIN_S
    return Call(method="POST", path="/workflows", query=query, read=_reader(Registered), takes_s=takes_s)


def page(*, after: str = "", limit: int = MAX_PAGE) -> Call[Page]:
    """List the workflows whose names follow another one.

    Args:
        after: That name; empty for the start.
        limit: Workflows at most, 1 to 1000.
    """
    return Call(method="GET", path="/workflows", query=_query(after=after, limit=limit), read=_reader(Page))


def describe(name: str) -> Call[Workflow]:
    """Describe a workflow."""
    read = _reader(tuple[Workflow])
    return Call(method="GET", path=_path(name), read=lambda answer: read(answer)[0])


def unregister(name: str) -> Call[Status]:
    """Unregister a workflow; answered when its workers are gone."""
    return Call(method="DELETE", path=_path(name), read=_reader(Status))


def predict(
    name: str, data: bytes = b"", *, headers: Mapping[str, str] | None = None, trace: bool = False
) -> Call[Predicted]:
    """Send a request through a workflow.

    Args:
        name: The workflow.
        data: The body, which the first node gets.
        headers: Like `Content-Type`, or those that handlers read.
        trace: Whether to ask what happened at each node.
    """
    return Call(
        method="POST",
        path=f"/wfpredict/{quote(name, safe='')}",
        query=_query(trace=1 if trace else None),
        headers=headers or {},
        body=data,
        plane=Plane.INFERENCE,
        read=_predicted,
    )


def ping() -> Call[Health]:
    """Say whether everything runs, or what does not."""
    return Call(method="GET", path="/ping", read=_reader(Health))


def _path(name: str) -> str:
    return f"/workflows/{quote(name, safe='')}"


def _query(**parameters: object) -> dict[str, str]:
    """Return the parameters that were given."""
    return {name: str(value) for name, value in parameters.items() if value is not None}


def _reader(kind: type[T]) -> Callable[[Answer], T]:
    def read(answer: Answer) -> T:
        try:
            return TypeAdapter(kind).validate_json(answer.body)
        except ValidationError as error:
            raise MalformedAnswer(f"The answer is not of this service: {error.errors()[0]['msg']}") from error

    return read


def _predicted(answer: Answer) -> Predicted:
    headers = answer.headers
    return Predicted(
        content=answer.body, content_type=headers.get("Content-Type", ""), trace=headers.get("x-wfmgmt-trace")
    )
