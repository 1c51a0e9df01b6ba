"""One request to the service as a value: what is sent, and how its answer is read."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Generic, TypedDict, TypeVar, Unpack
from urllib.parse import quote, urlencode

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from wfmgmt.client.errors import MalformedAnswer

T = TypeVar("T")
U = TypeVar("U")
#: JSON has `workflowName` where Python has `workflow_name`.
CAMEL_CASE = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)
IDEMPOTENCY_KEY = "Idempotency-Key"


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
        file: The file that is sent instead, read while it is.
        form: Files that are sent as parts of a form instead, with the names of the parts.
        plane: To which address.
        takes_s: How long the service may need, when that is longer than usual.
        of_operation: Makes the value of the operation, once it is done, that the service may have made of the request;
            None when what it accepted is the value.
    """

    method: str
    path: str
    read: Callable[[Answer], T]
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    file: Path | None = None
    form: Sequence[tuple[str, Path]] = ()
    plane: Plane = Plane.MANAGEMENT
    takes_s: float = 0
    of_operation: Callable[[Any], T] | None = None

    @property
    def target(self) -> str:
        """Path and query."""
        return f"{self.path}?{urlencode(self.query, quote_via=quote)}" if self.query else self.path

    def reading_as(self, read: "Callable[[Answer], U]") -> "Call[U]":
        """Return the same request, whose answer is read in another way, also if it is an operation."""
        return Call(
            method=self.method,
            path=self.path,
            read=read,
            query=self.query,
            headers=self.headers,
            body=self.body,
            file=self.file,
            form=self.form,
            plane=self.plane,
            takes_s=self.takes_s,
        )

    @property
    def is_write(self) -> bool:
        """Whether it changes what is registered, so that it has to be carried out once, however often it is sent."""
        return self.plane is Plane.MANAGEMENT and self.method != "GET" and "dry_run" not in self.query


class WriteOptions(TypedDict, total=False):
    """What every change takes beside its own arguments.

    Attributes:
        reason: Why, for the audit trail and the list of releases.
        if_revision: The revision that the workflow has to have still.
        plan: Fingerprint of a plan; the change is refused when it would do something else by now.
        idempotency_key: A key of the caller's own, under which the change is made once, also by several calls.
    """

    reason: str | None
    if_revision: int | None
    plan: str | None
    idempotency_key: str | None


def reading(path: str, read: Callable[[Answer], T], **parameters: object) -> Call[T]:
    """Return a request that changes nothing."""
    return Call(method="GET", path=path, read=read, query=given(**parameters))


def writing(
    method: str,
    path: str,
    read: Callable[[Answer], T],
    *,
    query: Mapping[str, str] | None = None,
    body: object = None,
    takes_s: float = 0,
    **options: Unpack[WriteOptions],
) -> Call[T]:
    """Return a request that changes something; a body is sent as JSON."""
    revision = options.get("if_revision")
    headers = {
        "If-Match": None if revision is None else f'"{revision}"',
        IDEMPOTENCY_KEY: options.get("idempotency_key"),
        "Content-Type": None if body is None else "application/json",
    }
    return Call(
        method=method,
        path=path,
        read=read,
        query={**(query or {}), **given(reason=options.get("reason"), plan=options.get("plan"))},
        headers={name: value for name, value in headers.items() if value is not None},
        body=None if body is None else json.dumps(body).encode(),
        takes_s=takes_s,
    )


def given(**parameters: object) -> dict[str, str]:
    """Return the parameters that were given, as texts."""
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in parameters.items()
        if value is not None
    }


def path_of(name: str, version: str | None = None, node: str | None = None, *, root: str = "/workflows") -> str:
    """Return the path of a workflow or a part of one.

    Raises:
        ValueError: A name is empty or dots, by which the path would be that of something else: the whole workflow.
    """
    parts = [name, *([] if version is None else [version]), *([] if node is None else ["nodes", node])]
    for part in parts:
        if part in {"", ".", ".."}:
            raise ValueError(f"expected the name of a workflow, version or node, got {part!r}")
    return "/".join([root, *(quote(part, safe="") for part in parts)])


def as_json(value: object) -> Any:  # noqa: ANN401 - any JSON value
    """Return what was given of a value as JSON has it."""
    return TypeAdapter(type(value)).dump_python(value, mode="json", by_alias=True, exclude_defaults=True)


def reader(kind: Any) -> Callable[[Answer], Any]:  # noqa: ANN401 - types like `tuple[X, ...]` are no `type[T]`
    """Return what makes values of a type of answers."""

    def read(answer: Answer) -> Any:  # noqa: ANN401 - as above
        try:
            return TypeAdapter(kind).validate_json(answer.body)
        except ValidationError as error:
            raise MalformedAnswer(f"The answer is not of this service: {error.errors()[0]['msg']}") from error

    return read
