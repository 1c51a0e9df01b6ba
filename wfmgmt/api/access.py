"""Who may call which route: the table of roles, and the check before each request."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from flask import Flask, g, request

from wfmgmt.api.guard import USER_KEY
from wfmgmt.domain.access import Caller, Role
from wfmgmt.domain.audit import AuditAction, AuditEvent, AuditOutcome, Origin
from wfmgmt.domain.names import is_workflow_name
from wfmgmt.domain.tokens import has_token
from wfmgmt.errors import BadRequest, WfmgmtError, WorkflowNotFound
from wfmgmt.errors.access import CredentialsRefused, Forbidden, TooManyFailedLogins
from wfmgmt.services.access import Access
from wfmgmt.services.failed_changes import FailedChanges

_STORE = "/archives/<any(workflows, models):store>"
_WORKFLOW = "/workflows/<workflow:name>"
_VERSION = f"{_WORKFLOW}/<version:version>"

#: What it takes to call each route; None for those that are open to all, which name no workflow to the others.
ROLES: Mapping[str, Role | None] = {
    "OPTIONS /": None,
    "GET /api-description": None,
    "GET /ping": None,
    "GET /readyz": None,
    "GET /livez": None,
    "GET /metrics": Role.VIEW,
    "GET /whoami": None,
    "GET /tokens": Role.ADMIN,
    "POST /tokens": Role.ADMIN,
    "DELETE /tokens/<token>": Role.ADMIN,
    "GET /audit": Role.AUDIT,
    "GET /audit/<int:number>": Role.AUDIT,
    "GET /audit/head": Role.AUDIT,
    "GET /archives": Role.VIEW,
    f"GET {_STORE}": Role.VIEW,
    f"GET {_STORE}/<file>": Role.VIEW,
    f"PUT {_STORE}/<file>": Role.REGISTER,
    f"DELETE {_STORE}/<file>": Role.REGISTER,
    "GET /operations": Role.VIEW,
    "GET /operations/<uid>": Role.VIEW,
    "POST /operations/<uid>/cancel": Role.OPERATE,
    "GET /models": Role.VIEW,
    "POST /apply": Role.REGISTER,
    "GET /drift": Role.VIEW,
    "GET /workflows": Role.VIEW,
    "POST /workflows": Role.REGISTER,
    "GET /workflows/<name>": Role.VIEW,
    "PUT /workflows/<name>": Role.OPERATE,
    "DELETE /workflows/<name>": Role.REGISTER,
    f"GET {_WORKFLOW}/all": Role.VIEW,
    f"GET {_WORKFLOW}/diff": Role.VIEW,
    f"GET {_WORKFLOW}/explain": Role.VIEW,
    f"GET {_WORKFLOW}/graph": Role.VIEW,
    f"GET {_WORKFLOW}/logs": Role.VIEW,
    f"PUT {_WORKFLOW}/nodes/<node>": Role.OPERATE,
    f"DELETE {_WORKFLOW}/nodes/<node>/overrides": Role.OPERATE,
    f"GET {_WORKFLOW}/releases": Role.VIEW,
    f"GET {_WORKFLOW}/releases/<int:number>": Role.VIEW,
    f"POST {_WORKFLOW}/rollback": Role.OPERATE,
    f"POST {_WORKFLOW}/rollout": Role.OPERATE,
    f"GET {_WORKFLOW}/traffic": Role.VIEW,
    f"PUT {_WORKFLOW}/traffic": Role.OPERATE,
    f"GET {_VERSION}": Role.VIEW,
    f"PUT {_VERSION}": Role.OPERATE,
    f"DELETE {_VERSION}": Role.REGISTER,
    f"GET {_VERSION}/explain": Role.VIEW,
    f"GET {_VERSION}/graph": Role.VIEW,
    f"GET {_VERSION}/logs": Role.VIEW,
    f"PUT {_VERSION}/nodes/<node>": Role.OPERATE,
    f"DELETE {_VERSION}/nodes/<node>/overrides": Role.OPERATE,
    f"PUT {_VERSION}/set-default": Role.OPERATE,
    "GET /ui/": None,
    "GET /ui/<path:unknown>": None,
    "GET /ui/static/<file>": None,
    "GET /ui/login": None,
    "POST /ui/login": None,
    "POST /ui/logout": None,
    "GET /ui/archives": Role.VIEW,
    f"GET /ui{_STORE}/<file>": Role.VIEW,
    f"POST /ui{_STORE}/<file>/remove": Role.REGISTER,
    "GET /ui/system": Role.VIEW,
    "GET /ui/audit": Role.AUDIT,
    "GET /ui/audit/<int:number>": Role.AUDIT,
    "GET /ui/tokens": Role.ADMIN,
    "POST /ui/tokens": Role.ADMIN,
    "POST /ui/tokens/<token>/revoke": Role.ADMIN,
    "GET /ui/change/<workflow:name>": Role.OPERATE,
    "POST /ui/change/<workflow:name>/rollback": Role.OPERATE,
    "POST /ui/change/<workflow:name>/rollout": Role.OPERATE,
    "POST /ui/change/<workflow:name>/scale": Role.OPERATE,
    "POST /ui/change/<workflow:name>/set-default": Role.OPERATE,
    "POST /ui/change/<workflow:name>/traffic": Role.OPERATE,
    "POST /ui/change/<workflow:name>/unregister": Role.REGISTER,
    "GET /ui/operations": Role.VIEW,
    "GET /ui/operations/<uid>": Role.VIEW,
    "POST /ui/operations/<uid>/cancel": Role.OPERATE,
    "GET /ui/register": Role.REGISTER,
    "POST /ui/register": Role.REGISTER,
    "GET /ui/workflows": Role.VIEW,
    f"GET /ui{_WORKFLOW}": Role.VIEW,
    f"GET /ui{_VERSION}": Role.VIEW,
    f"GET /ui{_VERSION}/graph": Role.VIEW,
}

#: Routes that give rights over all workflows, for which a token for some of them is not enough, whatever its role.
_ABOUT_ALL = frozenset(
    {
        *("GET /tokens", "POST /tokens", "DELETE /tokens/<token>"),
        *("GET /ui/tokens", "POST /ui/tokens", "POST /ui/tokens/<token>/revoke"),
    }
)


def guard_routes(
    app: Flask,
    *,
    access: Access,
    has_open_metrics: bool,
    actions: Mapping[str, AuditAction],
    failures: FailedChanges,
    session: Callable[[], Caller | None],
) -> None:
    """Have each request checked before its view, and before its body is read.

    Args:
        app: The application, with its routes.
        access: Finds out who a request comes from.
        has_open_metrics: Whether `/metrics` needs no token.
        actions: What the audit trail calls the routes that change something, by method and path.
        failures: Records changes that a token is not enough for.
        session: Returns in whose session a request is sent that shows no token; None for one that is in none.
    """
    roles = {**ROLES, **({"GET /metrics": None} if has_open_metrics else {})}

    @app.before_request
    def _check() -> None:
        if request.url_rule is None:
            return
        route = f"{'GET' if request.method == 'HEAD' else request.method} {request.url_rule.rule}"
        needed = roles.get(route, Role.ADMIN)
        g.find_caller = partial(_caller, access, session)
        if needed is None:
            return
        try:
            _check_caller(route, needed)
        except (CredentialsRefused, TooManyFailedLogins, Forbidden) as refusal:
            if route in actions and (by := _refused(refusal, access)) is not None:
                failures.record(_event(actions[route], request.view_args or {}, refusal, by), refusal)
            raise
        if any(has_token(str(value)) for value in (request.view_args or {}).values()):
            raise BadRequest("The path has a token in it, which belongs in the header Authorization alone; revoke it.")


def _check_caller(route: str, needed: Role) -> None:
    """Check that the client may call a route for the workflow that its path names.

    Raises:
        CredentialsRefused, TooManyFailedLogins, Forbidden: It may not.
        WorkflowNotFound: The workflow does not exist for it.
    """
    found = caller()
    if not found.is_known:
        found.check(needed)
    name = (request.view_args or {}).get("name")
    if name is not None and name not in found.scope:
        raise WorkflowNotFound(name)
    _check_rights(found, route, needed)


def _refused(refusal: WfmgmtError, access: Access) -> Origin | None:
    """Return whose change was refused, as the audit trail has it; None when it is nobody's that is known."""
    if isinstance(refusal, Forbidden):
        return origin()
    actor = access.former(request.headers.get("Authorization"))
    return Origin(actor=actor, address=request.remote_addr or "", request_id=g.request_id) if actor else None


def _check_rights(found: Caller, route: str, needed: Role) -> None:
    """Check that a client may call a route.

    Raises:
        CredentialsRefused, Forbidden: It may not.
    """
    found.check(needed)
    if route in _ABOUT_ALL and found.scope.patterns is not None:
        raise Forbidden(f"{found.actor} is for {found.scope} only, and tokens give rights over all workflows.")


def _caller(access: Access, session: Callable[[], Caller | None]) -> Caller:
    shown = request.headers.get("Authorization")
    in_session = session() if shown is None else None
    found = in_session or access.caller(shown, address=request.remote_addr or "")
    return replace(found, user=request.environ[USER_KEY])


def _event(action: AuditAction, names: Mapping[str, str], error: WfmgmtError, by: Origin) -> AuditEvent:
    """Return the event of a refused change, with what its path names."""
    workflow = names.get("name", "")
    return AuditEvent(
        origin=by,
        action=action,
        workflow=workflow if is_workflow_name(workflow) else "",
        outcome=AuditOutcome.FAILED,
        detail={
            **{name: value for name, value in names.items() if name != "name"},
            "error": {"type": type(error).__name__, "message": str(error)},
        },
    )


def caller() -> Caller:
    """Return who the request comes from.

    It is found out when it is asked for first: routes that are open to all need neither a token nor the database.

    Raises:
        CredentialsRefused, TooManyFailedLogins, RegistryUnavailable: As `Access.caller` says; only on open routes.
    """
    if "caller" not in g:
        g.caller = g.find_caller()
    found: Caller = g.caller
    return found


def origin() -> Origin:
    """Return the same as the audit trail has it."""
    return Origin(actor=caller().actor, address=request.remote_addr or "", request_id=g.request_id)
