"""The table of all routes that change something: what each takes, and what the audit trail calls it.

Requests are read by these schemas, and the description of the API shows them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wfmgmt.api.idempotency import HEADER, KEY_FORM
from wfmgmt.domain.access import Role
from wfmgmt.domain.audit import AuditAction
from wfmgmt.domain.names import RESERVED_VERSIONS, VERSION_FORM, WORKFLOW_NAME_FORM
from wfmgmt.domain.releases import MAX_ROUTES, WHOLE
from wfmgmt.domain.rollouts import RolloutAction
from wfmgmt.domain.tokens import NAME_FORM as TOKEN_NAME_FORM
from wfmgmt.domain.workflow import MAX_WORKERS, SETTINGS
from wfmgmt.http.openapi import nullable, ref
from wfmgmt.services.applying import DEFAULT_SOURCE
from wfmgmt.services.preparation import DEFAULT_TIMEOUT_S

Schema = Mapping[str, Any]

MAX_TIMEOUT_S = 86_400
#: Of the name of a source.
SOURCE_FORM = "[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
MAX_REASON_CHARS = 500

NAME_OR_EMPTY: Schema = {"type": "string", "pattern": f"^({WORKFLOW_NAME_FORM})?$"}
_TIMEOUT: Schema = {"type": "integer", "minimum": 1, "maximum": MAX_TIMEOUT_S, "default": DEFAULT_TIMEOUT_S}

_RESERVED = "|".join(RESERVED_VERSIONS)
VERSION_PATTERN = f"^(?!({_RESERVED})$){VERSION_FORM}$"
_WORKERS: Schema = {"type": "integer", "minimum": 0, "maximum": MAX_WORKERS}

#: Parameters of every write.
COMMON: Mapping[str, Schema] = {
    "reason": {
        "type": "string",
        "maxLength": MAX_REASON_CHARS,
        "pattern": r"^[^\x00-\x08\x0b-\x1f\x7f-\x9f]*$",
        "description": "Why, for the audit trail and the list of releases",
    },
    "dry_run": {
        "type": "boolean",
        "description": "Check everything, change nothing, and answer with the plan of what would be done",
    },
    "plan": {
        "type": "string",
        "pattern": "^(p-[0-9a-f]{16})?$",
        "description": "The `fingerprint` of a plan; 409 if anything that it rests on has changed since",
    },
}
#: Headers of every write.
HEADERS: Mapping[str, Schema] = {
    "If-Match": {
        "type": "string",
        "pattern": r'^(\*|"[0-9]{1,18}")$',
        "description": "The `ETag` of the workflow, which has to have it still; 412 otherwise",
    },
    HEADER: {
        "type": "string",
        "pattern": f"^{KEY_FORM}$",
        "description": "Of the client's choice; the same request with the same key is answered alike for 24 hours",
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteRule:
    """What a route that changes something takes.

    Attributes:
        action: What the audit trail calls the change.
        parameters: Schema of each parameter of its own.
        records_refusals: Whether its use case records what it refuses, as it knows more about it.
        has_secret: Whether its answer has a secret, so that it is not kept under an idempotency key.
    """

    action: AuditAction
    parameters: Mapping[str, Schema]
    records_refusals: bool = False
    has_secret: bool = False

    @property
    def schemas(self) -> Mapping[str, Schema]:
        """Schema of each parameter."""
        return {**self.parameters, **COMMON}


REGISTER = WriteRule(
    action=AuditAction.REGISTER,
    parameters={
        "url": {
            "type": "string",
            "pattern": r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$",
            "description": "Name of a .war in the workflow store, or an http(s) URL; needed, here or there",
        },
        "workflow_name": {**NAME_OR_EMPTY, "description": "The name to register; the archive's own unless given"},
        "response_timeout": {**_TIMEOUT, "description": "Seconds in which the workflow has to answer a request"},
        "startup_timeout": {
            **_TIMEOUT,
            "description": "Seconds in which all workers have to be up, and the wait for a runtime that starts",
        },
        "version": {
            "type": "string",
            "pattern": VERSION_PATTERN,
            "description": "Which version this is, needed for a further one; 1.0 for the first unless given",
        },
        "set_default": {"type": "boolean", "description": "Give it all requests once it is up, as the first one gets"},
        "synchronous": {
            "type": "boolean",
            "default": True,
            "description": "Answered when all workers are up; if not, with 202 and the operation that is carried out",
        },
        "s3_sse_kms": {"type": "boolean", "enum": [False], "description": "Downloads from S3 are not supported"},
    },
    records_refusals=True,
)
APPLY = WriteRule(
    action=AuditAction.APPLY,
    parameters={
        "source": {
            "type": "string",
            "pattern": f"^{SOURCE_FORM}$",
            "default": DEFAULT_SOURCE,
            "description": "Where it is declared; what comes from other sources is left alone",
        },
        "prune": {"type": "boolean", "description": "Remove what comes from this source and is not declared any more"},
        "adopt": {"type": "boolean", "description": "Take workflows over that come from elsewhere"},
        "synchronous": {
            "type": "boolean",
            "default": True,
            "description": "Answered when it is done; if not, with 202 and the operation that is carried out",
        },
    },
)
REMOVE_ARCHIVE = WriteRule(action=AuditAction.REMOVE_ARCHIVE, parameters={})
UPLOAD = WriteRule(
    action=AuditAction.UPLOAD,
    parameters={
        "replace": {"type": "boolean", "description": "Replace another file of that name that no workflow uses"},
        "sha256": {
            "type": "string",
            "pattern": "^([0-9A-Fa-f]{64})?$",
            "description": "The digest that the archive has to have; `Repr-Digest` says the same",
        },
    },
)
CREATE_TOKEN = WriteRule(
    action=AuditAction.TOKEN_CREATE,
    parameters={
        "name": {
            "type": "string",
            "pattern": f"^{TOKEN_NAME_FORM}$",
            "description": "What to call it; never used again",
        },
        "role": {"type": "string", "enum": [role.value for role in Role]},
        "workflows": {
            "type": "string",
            "default": "*",
            "description": "Names of workflows that it is for, separated by commas; `*` is any text, `?` one character",
        },
        "expires": {
            "type": "string",
            "pattern": "^([1-9][0-9]{0,5}[smhd])?$",
            "description": "Time to live, like `90d` or `12h`; it does not expire unless given",
        },
        "note": {"type": "string", "maxLength": MAX_REASON_CHARS, "description": "What it is for"},
    },
    has_secret=True,
)
REVOKE_TOKEN = WriteRule(action=AuditAction.TOKEN_REVOKE, parameters={})
CANCEL = WriteRule(action=AuditAction.CANCEL, parameters={})
UNREGISTER = WriteRule(action=AuditAction.UNREGISTER, parameters={})
UNREGISTER_VERSION = WriteRule(action=AuditAction.UNREGISTER_VERSION, parameters={})
#: When a release is answered that has to load versions.
_LATER: Mapping[str, Schema] = {
    "synchronous": {
        "type": "boolean",
        "default": True,
        "description": "Answered when it is in force; if not, and it has to load versions, with 202 and its operation",
    }
}
SET_DEFAULT = WriteRule(action=AuditAction.SET_DEFAULT, parameters=_LATER)
ROLLBACK = WriteRule(
    action=AuditAction.ROLLBACK,
    parameters={
        "to": {
            "type": "integer",
            "minimum": 1,
            "maximum": 2**31 - 1,
            "description": "Number of the release to repeat; the one before unless given",
        },
        **_LATER,
    },
)
ROLLOUT = WriteRule(
    action=AuditAction.ROLLOUT,
    parameters={"action": {"type": "string", "enum": [action.value for action in RolloutAction]}, **_LATER},
)
TRAFFIC = WriteRule(
    action=AuditAction.TRAFFIC,
    parameters={
        "version": {"type": "string", "description": "With `weight`, instead of a table: which version"},
        "weight": {
            "type": "integer",
            "minimum": 0,
            "maximum": WHOLE,
            "description": "Its share of the requests in percent, which the default version gives up",
        },
        "routes": {"type": "array", "minItems": 1, "maxItems": MAX_ROUTES, "items": ref("Route")},
        "mirror": {**nullable("Mirror"), "type": "object"},
        "sticky": {**nullable("Sticky"), "type": "object"},
        "guard": {**nullable("Guard"), "type": "object"},
        "steps": {"type": "array", "items": ref("Step"), "nullable": True},
        "paused": {"type": "boolean", "description": "Whether to begin with a paused rollout"},
        **_LATER,
    },
)
#: When a change of worker counts is answered.
_WAITING: Mapping[str, Schema] = {
    "synchronous": {"type": "boolean", "default": False, "description": "Answered when the workers are up"},
    "timeout": {
        "type": "integer",
        "minimum": 0,
        "maximum": MAX_TIMEOUT_S,
        "default": DEFAULT_TIMEOUT_S,
        "description": "Seconds to wait for that",
    },
}
_COUNTS: Mapping[str, Schema] = {"min_worker": _WORKERS, "max_worker": {**_WORKERS, "minimum": 1}}
SCALE = WriteRule(action=AuditAction.SCALE, parameters={**_COUNTS, **_WAITING})
_TORCHSERVE_NAMES = {"min-workers": "min_worker", "max-workers": "max_worker"}
#: Each parameter of an update, and the setting that it stands for.
SETTING_PARAMETERS = {
    _TORCHSERVE_NAMES.get(setting.key, setting.key.replace("-", "_")): setting for setting in SETTINGS
}
UPDATE = WriteRule(
    action=AuditAction.UPDATE,
    parameters={
        **{
            name: {"type": "integer", "minimum": setting.low, "maximum": setting.high}
            for name, setting in SETTING_PARAMETERS.items()
        },
        **_WAITING,
    },
)
RESET = WriteRule(action=AuditAction.RESET, parameters={})
