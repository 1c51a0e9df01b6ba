"""Every error that wfmgmt raises on purpose. Nothing here knows HTTP; `wfmgmt.http.answers` maps each to a status.

Those of loads, predictions, uploads, declared state and commands are in the modules of this package, which have trees
of their own.

WfmgmtError
├── BadRequest                  a parameter, body or name is wrong
├── InvalidArchive              a .war or .mar file that cannot be trusted or understood
├── InvalidWorkflow             a manifest, spec or handler that breaks the rules
│   └── InvalidDag              its graph does
├── WorkflowNotFound            no workflow of that name is registered
├── VersionNotFound             a workflow has no such version
├── ArchiveNotFound             no such archive in the workflow store
│   └── RelativePathRefused     a name that climbs out of the store
├── ArchiveInUse                versions of workflows have that archive
├── ArchiveNotSigned            an archive lacks a signature that is accepted
├── UrlNotAllowed               a download address that the settings do not let through
├── DownloadFailed              an allowed address did not deliver the archive
├── WorkflowExists              the name is taken
├── VersionExists               the workflow has that version
├── ReleaseNotFound             a workflow has no release of that number
├── NothingToRollBack           there is no release that a rollback could repeat
├── NodeNotFound                a version of a workflow has no such node
├── StalePlan                   what a plan rests on has changed
├── VersionInUse                the current release names the version
├── VersionDoesNotLoad          a version that a release was to name does not come up
├── WorkflowBusy                the name is being registered or unregistered right now
├── NoRollout                   there is no rollout to pause, resume, promote or abort
├── PreconditionFailed          the workflow has changed since the client looked
├── IdempotencyKeyReused        another request had that idempotency key
├── OperationCancelled          somebody asked for the end of this operation
├── OperationDone               an operation that has ended, or made what it was to make, cannot be cancelled
├── OperationNotFound           there is no such operation, or it is not kept any more
├── RequestUnderWay             the same request, by its idempotency key, is not answered yet
├── CrossOriginRefused          a web page of another origin may have sent it
├── Unavailable                 the service cannot do this now; a later attempt may succeed
│   ├── RegistryUnavailable     the database is locked or unreachable
│   ├── FolderUnavailable       a folder of the service was removed, replaced or closed while it runs
│   ├── RuntimeUnavailable      the runtime does not answer, or its answers are malformed
│   │   ├── NotInForce          a change is made and recorded, and the runtime does not do as it says yet
│   │   └── RuntimeUnreachable  it is down, being started or hanging: another attempt may succeed soon
│   │       └── RuntimeDown     nothing listens on its socket
│   ├── TooManyRegistrations    as many registrations as allowed are under way
│   ├── TooManyConnections      as many connections as allowed are busy
│   ├── Saturated               as many predictions, reports or exports as allowed, or bytes of them, are under way
│   ├── WorkflowNotReady        the workflow is registered, but does not run now, or is too busy
│   ├── Interrupted             the process that carried an operation out is gone
│   └── ShuttingDown            the server is stopping
└── InsufficientStorage         no space left for the database or an archive
"""

import errno
from collections.abc import Sequence


class WfmgmtError(Exception):
    """Root of all errors that wfmgmt raises on purpose; its text is fit for the caller to read.

    Attributes:
        operation: The operation that is at work on what the caller wants, or was last; empty when there is none.
        hint: What else the caller may want to know; None when there is nothing.
        ended: The operation that ended with it; empty when there is none.
    """

    operation = ""
    ended = ""
    hint: str | None = None


class BadRequest(WfmgmtError):
    """A parameter, body or name of a request is wrong."""


class InvalidArchive(WfmgmtError):
    """An archive that cannot be trusted or understood.

    Attributes:
        reason: What is wrong, without the archive's name.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class InvalidWorkflow(WfmgmtError):
    """The manifest, spec or handler of a workflow breaks the rules."""


class InvalidDag(InvalidWorkflow):
    """The graph of a workflow breaks the rules."""


class WorkflowNotFound(WfmgmtError):
    """No workflow of that name is registered."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Workflow not found: {name}")


class VersionNotFound(WfmgmtError):
    """A workflow has no such version."""

    def __init__(self, workflow: str, version: str) -> None:
        super().__init__(f"Workflow version: {version} does not exist for workflow: {workflow}")


class ArchiveNotFound(WfmgmtError):
    """The workflow store, or the model store, holds no such archive."""

    def __init__(self, url: str, kind: str = "workflow") -> None:
        super().__init__(f"{kind.capitalize()} not found in {kind} store: {url}")


class RelativePathRefused(ArchiveNotFound):
    """An archive name that climbs out of its folder."""

    def __init__(self, url: str) -> None:
        WfmgmtError.__init__(self, f"Relative path is not allowed in url: {url}")


class ArchiveInUse(WfmgmtError):
    """An archive cannot be removed or replaced while versions of workflows have it."""

    MAX_NAMED = 10

    def __init__(self, file: str, users: Sequence[str], others: int = 0) -> None:
        """Name the versions that the client may know of, and the number of others."""
        more = max(0, len(users) - self.MAX_NAMED) + others
        named = ", ".join(users[: self.MAX_NAMED]) or "versions"
        counted = "" if not more else f" and {more} more" if users else f" ({more}) of workflows that are not yours"
        super().__init__(f"Archive {file} is used by {named}{counted}; unregister that first.")


class ArchiveNotSigned(WfmgmtError):
    """An archive lacks a signature by one of those who may sign archives for this service.

    Attributes:
        reason: What is wrong, without the archive's name.
    """

    hint = "To sign it: ssh-keygen -Y sign -O hashalg=sha256 -n wfmgmt -f KEY FILE; the signature goes beside it."

    def __init__(self, archive: str, reason: str) -> None:
        super().__init__(f"Archive {archive} is not signed as this service requires (WFMGMT_SIGNERS): {reason}.")
        self.reason = reason


class UrlNotAllowed(WfmgmtError):
    """The settings do not let this address through."""

    def __init__(self, url: str, hint: str) -> None:
        super().__init__(f"Given URL {url} does not match any allowed URL(s); {hint}")


class DownloadFailed(WfmgmtError):
    """An allowed address did not deliver the archive.

    Attributes:
        reason: What happened: a status, a time-out, a size.
    """

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"Failed to download archive from: {url}: {reason}")
        self.reason = reason


class WorkflowExists(WfmgmtError):
    """A workflow of that name is registered already.

    Attributes:
        hint: What else the client may have wanted.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"Workflow {name} is already registered.")
        self.hint = f"To register another version of {name}, name it: version=2.0, for example."


class VersionExists(WfmgmtError):
    """The workflow has that version, or it is being registered or unregistered."""

    def __init__(self, name: str, version: str) -> None:
        super().__init__(f"Workflow version {version} is already registered for workflow {name}")


class ReleaseNotFound(WfmgmtError):
    """A workflow has no release of that number."""

    def __init__(self, name: str, number: int) -> None:
        super().__init__(f"Release: {number} does not exist for workflow: {name}")


class NothingToRollBack(WfmgmtError):
    """There is no release that a rollback could repeat."""


class NodeNotFound(WfmgmtError):
    """A version of a workflow has no such node."""

    def __init__(self, name: str, version: str, node: str) -> None:
        super().__init__(f"Workflow node: {node} does not exist in version {version} of workflow: {name}")


class StalePlan(WfmgmtError):
    """Something that a plan rests on has changed since it was made."""

    def __init__(self, name: str) -> None:
        super().__init__(f"The plan for workflow {name} is outdated; make a new one (dry_run=true).")


class VersionInUse(WfmgmtError):
    """A version cannot be unregistered while the current release names it."""

    def __init__(self, name: str, version: str, use: str) -> None:
        super().__init__(
            f"Workflow version {version} {use} of workflow {name}; give that to another version first "
            f"(PUT /workflows/{name}/traffic, or set-default), or unregister the whole workflow."
        )


class VersionDoesNotLoad(WfmgmtError):
    """A version that a release was to name does not come up, so nothing was changed."""

    def __init__(self, name: str, version: str, reason: str) -> None:
        super().__init__(f"Workflow version {version} of workflow {name} does not load, nothing was changed: {reason}")


class WorkflowBusy(WfmgmtError):
    """The name belongs to a registration or an unregistration that is not finished."""

    def __init__(self, name: str, doing: str) -> None:
        super().__init__(f"Workflow {name} is {doing} right now; try again when that is finished.")


class NoRollout(WfmgmtError):
    """The current release of a workflow is not a rollout that this action could change."""

    def __init__(self, workflow: str, action: str) -> None:
        super().__init__(
            f"Workflow {workflow} has no rollout to {action}: its current release has no steps"
            f"{' and no guard' if action in ('promote', 'abort') else ''}."
        )


class PreconditionFailed(WfmgmtError):
    """A workflow has another revision than the client expects.

    Args:
        name: The workflow.
        revision: The one that it has; None when there is no such workflow.
        last_change: Who made it how and when, as `traffic by anonymous at 2026-01-31T12:00:00.000000Z`.
    """

    def __init__(self, name: str, revision: int | None, last_change: str = "") -> None:
        if revision is None:
            super().__init__(f"Workflow {name} does not exist, so it has none of the revisions in If-Match.")
        else:
            how = f": {last_change}" if last_change else ""
            super().__init__(f"Workflow {name} has revision {revision}, which is not in If-Match{how}.")


class IdempotencyKeyReused(WfmgmtError):
    """Another request to the same path had the idempotency key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"Idempotency-Key {key!r} was used for another request; take a new key for each request.")


class OperationCancelled(WfmgmtError):
    """Somebody asked for the end of this operation."""

    def __init__(self) -> None:
        super().__init__("This was cancelled; nothing of it is left.")


class OperationDone(WfmgmtError):
    """An operation that has ended, or has made what it was to make, cannot be cancelled."""

    def __init__(self, uid: str, state: str) -> None:
        super().__init__(f"Operation {uid} is {state} and cannot be cancelled.")


class OperationNotFound(WfmgmtError):
    """There is no such operation, or it is not kept any more."""

    def __init__(self, uid: str) -> None:
        super().__init__(f"Operation not found: {uid}")


class RequestUnderWay(WfmgmtError):
    """The request of the same idempotency key has no answer yet.

    Attributes:
        retry_after_s: Whole seconds after which another attempt makes sense.
    """

    retry_after_s = 1

    def __init__(self, key: str) -> None:
        super().__init__(f"The request with Idempotency-Key {key!r} is still under way; try again later.")


class CrossOriginRefused(WfmgmtError):
    """A web page of another origin may have sent the request; the text names the setting that would allow it.

    Attributes:
        check: Which check it did not pass: `host` or `origin`.
    """

    def __init__(self, message: str, check: str) -> None:
        super().__init__(message)
        self.check = check


class Unavailable(WfmgmtError):
    """The service cannot do this now.

    Attributes:
        retry_after_s: Whole seconds after which another attempt makes sense.
    """

    retry_after_s = 5


class RegistryUnavailable(Unavailable):
    """The database is locked by another process or cannot be reached."""


class FolderUnavailable(Unavailable):
    """A folder of the service was removed, replaced or closed to it while it runs.

    Args:
        what: Whose folder it is.
        error: What the system said; that there is no folder unless given.
    """

    def __init__(self, what: str, error: OSError | None = None) -> None:
        super().__init__(f"The folder of the {what} {how_lost(error)}.")


def how_lost(error: OSError | None) -> str:
    """Say what became of a folder that the service had."""
    if error is None or error.errno == errno.ENOENT:
        return "was removed or renamed while the service runs"
    if error.errno == errno.ENOTDIR:
        return "was replaced while the service runs"
    return f"cannot be used: {error.strerror}"


class RuntimeUnavailable(Unavailable):
    """The runtime does not answer, or its answer is malformed."""


class NotInForce(RuntimeUnavailable):
    """A change is made and recorded, and the runtime does not do as it says yet."""


class RuntimeUnreachable(RuntimeUnavailable):
    """The runtime is down, being started or hanging, so that another attempt may succeed soon."""


class RuntimeDown(RuntimeUnreachable):
    """Nothing listens on the runtime's socket."""


class TooManyRegistrations(Unavailable):
    """As many registrations as the settings allow are under way."""


class TooManyConnections(Unavailable):
    """As many connections as the settings allow are open, and none of them is idle."""

    retry_after_s = 1


class Saturated(Unavailable):
    """As many of something as allowed are under way: predictions, their bytes, reports on archives, exports."""

    retry_after_s = 1


class WorkflowNotReady(Unavailable):
    """The workflow is registered, but does not run now, or is too busy.

    Attributes:
        node: The node that is the reason, if one is.
    """

    retry_after_s = 1

    def __init__(self, message: str, node: str | None = None) -> None:
        super().__init__(message)
        self.node = node


class Interrupted(Unavailable):
    """The process that carried an operation out is gone, in each of its attempts."""

    def __init__(self, attempts: int = 1) -> None:
        attempt = f", in {attempts} attempts" if attempts > 1 else ""
        super().__init__(f"The process that carried this out is gone{attempt}; nothing of it is left.")


class ShuttingDown(Unavailable):
    """The server is stopping and accepts nothing new."""


class InsufficientStorage(WfmgmtError):
    """No space is left for the database or an archive."""
