"""Parts of answers that both planes share: errors, headers and request ids, as TorchServe 0.12.0 has them."""

import json
import re
import uuid
from collections.abc import Mapping
from http import HTTPStatus

import orjson

from wfmgmt import errors
from wfmgmt.domain.redaction import redacted, without_tokens
from wfmgmt.errors import access, declared, loading, predictions, uploads

#: Headers that every answer carries; TorchServe separates the directives with semicolons, HTTP wants commas.
NO_CACHE = {
    "Pragma": "no-cache",
    "Cache-Control": "no-cache, no-store, must-revalidate, private",
    "Expires": "Thu, 01 Jan 1970 00:00:00 UTC",
}
REQUEST_ID = "x-request-id"
#: On the answer to a change: number and hash of its row in the audit trail.
RECEIPT = "x-wfmgmt-audit"
#: `WWW-Authenticate` of an answer that asks for a token.
CHALLENGE = "Bearer"
#: Workflows that a health check names at most.
NOT_READY_SHOWN = 100

UNKNOWN_PATH = "Requested resource is not found, please refer to API document."
WRONG_VERSION = "This version of HTTP is not supported; expected HTTP/1.1."
WRONG_METHOD = "Requested method is not allowed, please refer to API document."

#: HTTP status to the type of a framework's own errors; ours have types of their own.
FRAMEWORK_TYPES: dict[int, str] = {
    HTTPStatus.BAD_REQUEST: "BadRequestException",
    HTTPStatus.NOT_FOUND: "ResourceNotFoundException",
    HTTPStatus.METHOD_NOT_ALLOWED: "MethodNotAllowedException",
    HTTPStatus.REQUEST_TIMEOUT: "RequestTimeoutException",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "RequestEntityTooLargeException",
    HTTPStatus.REQUEST_URI_TOO_LONG: "RequestUriTooLongException",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "UnsupportedMediaTypeException",
    HTTPStatus.EXPECTATION_FAILED: "ExpectationFailedException",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "RequestHeaderFieldsTooLargeException",
    HTTPStatus.INTERNAL_SERVER_ERROR: "InternalServerException",
    HTTPStatus.NOT_IMPLEMENTED: "NotImplementedException",
    HTTPStatus.SERVICE_UNAVAILABLE: "ServiceUnavailableException",
    HTTPStatus.HTTP_VERSION_NOT_SUPPORTED: "HttpVersionNotSupportedException",
}

#: Error class to HTTP status and TorchServe's name for it; a class stands for its subclasses that have no line, and an
#: error that has a status of its own goes with that.
STATUS_AND_TYPE: dict[type[errors.WfmgmtError], tuple[int, str]] = {
    errors.BadRequest: (HTTPStatus.BAD_REQUEST, "BadRequestException"),
    errors.InvalidArchive: (HTTPStatus.BAD_REQUEST, "InvalidWorkflowException"),
    errors.InvalidWorkflow: (HTTPStatus.BAD_REQUEST, "InvalidWorkflowException"),
    errors.InvalidDag: (HTTPStatus.BAD_REQUEST, "InvalidDAGException"),
    errors.WorkflowNotFound: (HTTPStatus.NOT_FOUND, "WorkflowNotFoundException"),
    errors.VersionNotFound: (HTTPStatus.NOT_FOUND, "WorkflowVersionNotFoundException"),
    errors.ArchiveNotFound: (HTTPStatus.NOT_FOUND, "WorkflowNotFoundException"),
    errors.ArchiveInUse: (HTTPStatus.CONFLICT, "ConflictStatusException"),
    errors.UrlNotAllowed: (HTTPStatus.NOT_FOUND, "WorkflowNotFoundException"),
    errors.ArchiveNotSigned: (HTTPStatus.FORBIDDEN, "ArchiveNotSignedException"),
    errors.DownloadFailed: (HTTPStatus.BAD_REQUEST, "DownloadArchiveException"),
    errors.WorkflowExists: (HTTPStatus.CONFLICT, "ConflictStatusException"),
    errors.VersionExists: (HTTPStatus.CONFLICT, "ConflictStatusException"),
    errors.ReleaseNotFound: (HTTPStatus.NOT_FOUND, "WorkflowReleaseNotFoundException"),
    errors.NothingToRollBack: (HTTPStatus.CONFLICT, "ConflictStatusException"),
    errors.NodeNotFound: (HTTPStatus.NOT_FOUND, "WorkflowNodeNotFoundException"),
    errors.StalePlan: (HTTPStatus.CONFLICT, "StalePlanException"),
    errors.VersionInUse: (HTTPStatus.CONFLICT, "ConflictStatusException"),
    errors.VersionDoesNotLoad: (HTTPStatus.CONFLICT, "ConflictStatusException"),
    errors.WorkflowBusy: (HTTPStatus.CONFLICT, "ConflictStatusException"),
    declared.SourceBusy: (HTTPStatus.CONFLICT, "ConflictStatusException"),
    declared.NotManaged: (HTTPStatus.CONFLICT, "ConflictStatusException"),
    declared.DeclaredOtherwise: (HTTPStatus.CONFLICT, "ConflictStatusException"),
    declared.NotApplied: (HTTPStatus.CONFLICT, "ConflictStatusException"),
    errors.NoRollout: (HTTPStatus.CONFLICT, "ConflictStatusException"),
    errors.PreconditionFailed: (HTTPStatus.PRECONDITION_FAILED, "PreconditionFailedException"),
    errors.IdempotencyKeyReused: (HTTPStatus.UNPROCESSABLE_ENTITY, "IdempotencyKeyReusedException"),
    errors.OperationCancelled: (HTTPStatus.CONFLICT, "ConflictStatusException"),
    errors.OperationDone: (HTTPStatus.CONFLICT, "ConflictStatusException"),
    errors.OperationNotFound: (HTTPStatus.NOT_FOUND, "OperationNotFoundException"),
    errors.RequestUnderWay: (HTTPStatus.CONFLICT, "ConflictStatusException"),
    errors.CrossOriginRefused: (HTTPStatus.FORBIDDEN, "CrossOriginException"),
    access.CredentialsRefused: (HTTPStatus.UNAUTHORIZED, "InvalidKeyException"),
    access.Forbidden: (HTTPStatus.FORBIDDEN, "ForbiddenException"),
    access.TokenExists: (HTTPStatus.CONFLICT, "ConflictStatusException"),
    access.TokenNotFound: (HTTPStatus.NOT_FOUND, "TokenNotFoundException"),
    access.EventNotFound: (HTTPStatus.NOT_FOUND, "EventNotFoundException"),
    access.TooManyFailedLogins: (HTTPStatus.TOO_MANY_REQUESTS, "TooManyRequestsException"),
    loading.NodesNotLoadable: (HTTPStatus.BAD_REQUEST, "WorkflowException"),
    loading.NodesFailedToLoad: (HTTPStatus.INTERNAL_SERVER_ERROR, "WorkflowException"),
    loading.ModelNameTaken: (HTTPStatus.CONFLICT, "ConflictStatusException"),
    loading.ModelServerFailed: (HTTPStatus.BAD_GATEWAY, "BadGatewayException"),
    loading.ModelServerTimedOut: (HTTPStatus.GATEWAY_TIMEOUT, "GatewayTimeoutException"),
    loading.ModelServerUnreachable: (HTTPStatus.SERVICE_UNAVAILABLE, "ServiceUnavailableException"),
    predictions.RequestTooSlow: (HTTPStatus.REQUEST_TIMEOUT, "RequestTimeoutException"),
    predictions.RequestTooLarge: (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "RequestEntityTooLargeException"),
    predictions.UnsupportedEncoding: (HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaTypeException"),
    predictions.ModelNotFound: (HTTPStatus.NOT_FOUND, "ModelNotFoundException"),
    predictions.ModelVersionNotFound: (HTTPStatus.NOT_FOUND, "ModelVersionNotFoundException"),
    predictions.WorkflowTimedOut: (HTTPStatus.GATEWAY_TIMEOUT, "GatewayTimeoutException"),
    predictions.NodeRefused: (HTTPStatus.BAD_REQUEST, "PredictionException"),
    predictions.NodeFailed: (HTTPStatus.INTERNAL_SERVER_ERROR, "InternalServerException"),
    predictions.NodeServerFailed: (HTTPStatus.BAD_GATEWAY, "BadGatewayException"),
    predictions.NodeServerTimedOut: (HTTPStatus.GATEWAY_TIMEOUT, "GatewayTimeoutException"),
    uploads.UploadTooLarge: (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "RequestEntityTooLargeException"),
    declared.DeclarationTooLarge: (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "RequestEntityTooLargeException"),
    uploads.UploadTooSlow: (HTTPStatus.REQUEST_TIMEOUT, "RequestTimeoutException"),
    uploads.DigestMismatch: (HTTPStatus.BAD_REQUEST, "DigestMismatchException"),
    uploads.ArchiveExists: (HTTPStatus.CONFLICT, "ConflictStatusException"),
    errors.Unavailable: (HTTPStatus.SERVICE_UNAVAILABLE, "ServiceUnavailableException"),
    errors.InsufficientStorage: (HTTPStatus.INSUFFICIENT_STORAGE, "InsufficientStorageException"),
}


def status_and_type(error: errors.WfmgmtError) -> tuple[int, str]:
    """Return the HTTP status and the wire type of an error."""
    status, error_type = _status_and_type(type(error))
    return getattr(error, "status", status), error_type


def named_status_and_type(name: str) -> tuple[int, str]:
    """Return the same for an error of which only the name of its class is known, as records have it."""
    found = (getattr(module, name, None) for module in (errors, access, declared, loading, predictions, uploads))
    return _status_and_type(next((kind for kind in found if isinstance(kind, type)), Exception))


def _status_and_type(kind: type) -> tuple[int, str]:
    known = (STATUS_AND_TYPE[each] for each in kind.__mro__ if each in STATUS_AND_TYPE)
    return next(known, (HTTPStatus.INTERNAL_SERVER_ERROR, "InternalServerException"))


def json_body(value: object) -> bytes:
    """Return JSON as every answer has it: in UTF-8, indented by two spaces, with a newline at the end.

    Args:
        value: Anything that `json.dumps` takes. Very large and very small floating-point numbers, which no answer
            has, are spelled differently by orjson.
    """
    try:
        return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # Text that UTF-8 cannot hold, as a handler's error may, or an integer beyond 64 bits.
        return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "replace")


def error_body(status: int, error_type: str, message: str, **more: object) -> bytes:
    """Return the one shape that errors have, with more fields where there is more to say; `code` is the HTTP status."""
    return json_body({"code": status, "type": error_type, "message": redacted(message), **more})


def sane_request_id(given: str | None) -> str:
    """Return the caller's own request id if it is short and plain, and no secret, else a new UUID."""
    if given and re.fullmatch(r"[A-Za-z0-9._:/+=@-]{1,128}", given) and without_tokens(given) == given:
        return given
    return str(uuid.uuid4())


_UNAVAILABLE = HTTPStatus.SERVICE_UNAVAILABLE


def health(problem: str, not_ready: Mapping[str, str], total: int) -> tuple[int, dict[str, object]]:
    """Return status and body of a health check.

    Args:
        problem: Why nothing can be served at all; empty when something can.
        not_ready: Workflow name to why it is not ready, for `NOT_READY_SHOWN` of them at most, and no others than exist
            for the client.
        total: How many there are.
    """
    if problem:
        return _UNAVAILABLE, {**_unavailable(problem), "status": "Unhealthy"}
    if not total:
        return HTTPStatus.OK, {"status": "Healthy"}
    body: dict[str, object] = {"status": "Partial Healthy", **({"notReady": dict(not_ready)} if not_ready else {})}
    if total > len(not_ready):
        body["notReadyCount"] = total
    return HTTPStatus.OK, body


def readiness(problem: str, awaited: Mapping[str, str], total: int) -> tuple[int, dict[str, object]]:
    """Return status and body of a readiness check, whose arguments are those of `health`.

    Args:
        problem: Why nothing can be served at all; empty when something can.
        awaited: Workflow name to why it is not ready again, for `NOT_READY_SHOWN` of them at most.
        total: How many there are.
    """
    if not problem and not total:
        return HTTPStatus.OK, {"status": "Ready"}
    message = problem or f"Workflows that are not ready again yet: {total}."
    body = {**_unavailable(message), "status": "Not Ready"}
    if awaited:
        body["notReady"] = dict(awaited)
    if total > len(awaited):
        body["notReadyCount"] = total
    return _UNAVAILABLE, body


def _unavailable(message: str) -> dict[str, object]:
    return {"code": _UNAVAILABLE, "type": FRAMEWORK_TYPES[_UNAVAILABLE], "message": message}


#: Body of a liveness check: that it is answered says all.
LIVENESS = {"status": "Live"}
