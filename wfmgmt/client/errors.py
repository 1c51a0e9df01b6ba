"""Errors of the client.

ClientError
├── Unreachable       no connection could be made, or it was lost before the answer was there
├── TimedOut          the answer did not come in time
├── NotReady          a workflow did not become ready in time
├── MalformedAnswer   an answer that is not of this service
└── Refused           the service answered with an error; a subclass for each type of error that it has
"""

from typing import ClassVar


class ClientError(Exception):
    """Root of the errors of the client."""


class Unreachable(ClientError):
    """No connection could be made, or it was lost before the answer was there."""


class TimedOut(ClientError):
    """The answer did not come in time; whether the request was carried out is open."""


class NotReady(ClientError):
    """A workflow did not become ready in time."""


class MalformedAnswer(ClientError):
    """An answer that is not of this service."""


class Refused(ClientError):
    """The service answered with an error. An error of a type that has no class here is of this one.

    Attributes:
        classes: The class for each type that the service gives its errors: its own name, and `Exception`.
        status: The HTTP status.
        type: The type; empty when the answer had none, as those of handlers and proxies.
        message: What the service said.
        hint: What else the caller may have wanted; mostly empty.
        operation: The path of the operation that is at work on what the caller wanted; mostly empty.
        request_id: Under which the service has logged the request.
        retry_after_s: When another attempt makes sense, if the service said so.
        body: The answer as it came.
    """

    classes: ClassVar[dict[str, type["Refused"]]] = {}

    def __init_subclass__(cls) -> None:
        cls.classes[f"{cls.__name__}Exception"] = cls

    def __init__(
        self,
        *,
        status: int,
        message: str,
        type_: str = "",
        hint: str = "",
        operation: str = "",
        request_id: str = "",
        retry_after_s: int | None = None,
        body: bytes = b"",
    ) -> None:
        super().__init__(f"{message.removesuffix('.')}. {hint}" if hint else message)
        self.status = status
        self.type = type_
        self.message = message
        self.hint = hint
        self.operation = operation
        self.request_id = request_id
        self.retry_after_s = retry_after_s
        self.body = body


class BadRequest(Refused):
    """A parameter, body or name is wrong."""


class InvalidWorkflow(Refused):
    """The archive, its manifest, spec or handler breaks the rules."""


class InvalidDAG(Refused):
    """The graph of the workflow breaks the rules."""


class DigestMismatch(Refused):
    """The archive does not have the digest that the request says."""


class DownloadArchive(Refused):
    """The archive could not be downloaded."""


class ArchiveNotSigned(Refused):
    """An archive lacks a signature by one of those who may sign archives for the service."""


class WorkflowNotFound(Refused):
    """There is no such workflow, or no such archive."""


class WorkflowVersionNotFound(Refused):
    """The workflow has no such version."""


class WorkflowNodeNotFound(Refused):
    """The workflow has no such node."""


class WorkflowReleaseNotFound(Refused):
    """The workflow has no such release."""


class ModelNotFound(Refused):
    """No node has that name of a model."""


class ModelVersionNotFound(Refused):
    """The workflow of the node has no such version."""


class OperationNotFound(Refused):
    """There is no such operation, or it is not kept any more."""


class ResourceNotFound(Refused):
    """There is no such path."""


class MethodNotAllowed(Refused):
    """The path has no such method."""


class ConflictStatus(Refused):
    """The name is taken, or being changed."""


class PreconditionFailed(Refused):
    """The workflow has another revision than expected."""


class StalePlan(Refused):
    """Something that the plan rests on has changed since."""


class IdempotencyKeyReused(Refused):
    """The key was used for another request."""


class InvalidKey(Refused):
    """The request shows no token that is accepted, where one is needed."""


class Forbidden(Refused):
    """The token is not enough for the request."""


class TokenNotFound(Refused):
    """There is no token of that name."""


class EventNotFound(Refused):
    """The audit trail has no event of that number."""


class TooManyRequests(Refused):
    """Too many refused tokens came from this address; `retry_after_s` says when another attempt makes sense."""


class CrossOrigin(Refused):
    """The request may have been sent by a web page of another origin."""


class Workflow(Refused):
    """Nodes of the workflow could not be loaded."""


class Prediction(Refused):
    """A handler refused the prediction."""


class InternalServer(Refused):
    """A node failed, or the service has a defect."""


class BadGateway(Refused):
    """The model server of a node failed."""


class GatewayTimeout(Refused):
    """A workflow or a model server did not answer the service in time."""


class ServiceUnavailable(Refused):
    """The service cannot do this now; `retry_after_s` says when another attempt makes sense."""


class InsufficientStorage(Refused):
    """No space is left for the database or an archive."""


class NotImplemented(Refused):  # noqa: A001 - the name follows from the type; callers write errors.NotImplemented
    """The service does not know the method of the request at all."""


class RequestTimeout(Refused):
    """The request did not arrive in time."""


class RequestEntityTooLarge(Refused):
    """The body is too large."""


class RequestUriTooLong(Refused):
    """The request line is too long."""


class RequestHeaderFieldsTooLarge(Refused):
    """The headers are too large."""


class UnsupportedMediaType(Refused):
    """The body is compressed in a way that is not read."""


class ExpectationFailed(Refused):
    """The header `Expect` is not `100-continue`."""


class HttpVersionNotSupported(Refused):
    """The version of HTTP is not 1.0 or 1.1."""
