"""The page that changes how a workflow runs: traffic, default version, rollback, rollouts, workers, and its end."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from flask import Blueprint, Response

from wfmgmt.api import write_rules
from wfmgmt.api.parameters import Parameters, whole_number
from wfmgmt.api.write_rules import SETTING_PARAMETERS, WriteRule
from wfmgmt.domain.names import check_version
from wfmgmt.domain.plans import Plan
from wfmgmt.domain.releases import WHOLE, ReleaseKind
from wfmgmt.domain.traffic import table_json
from wfmgmt.errors import BadRequest
from wfmgmt.services.changes import Change
from wfmgmt.services.inspection import Inspection
from wfmgmt.services.operation_records import Accepted
from wfmgmt.services.release_requests import ReleaseRequest
from wfmgmt.services.releases import Releases
from wfmgmt.services.removal import Removal, Unregistered
from wfmgmt.services.scaling import Scaled, Scaling
from wfmgmt.web.rendering import page, see_other
from wfmgmt.web.submissions import Form, Submission, Submissions, to_operation, to_workflow

#: Releases that one can go back to here.
LINES = 20
#: What a routing table keeps when its shares are changed.
_KEPT = ("mirror", "sticky", "guard")


def add_change_pages(
    blueprint: Blueprint,
    submissions: Submissions,
    *,
    inspection: Inspection,
    releases: Releases,
    scaling: Scaling,
    removal: Removal,
) -> None:
    """Add the routes to a blueprint."""

    @blueprint.get("/ui/change/<workflow:name>")
    def change(name: str) -> Response:
        """Show the forms."""
        _, release, _ = inspection.traffic(name)
        return page(
            "change.html",
            name=name,
            versions=inspection.describe_all(name),
            release=release,
            releases=inspection.releases(name, limit=LINES, before=release.number)[0],
        )

    def add(kind: str, rule: WriteRule, read: Callable[..., Submission]) -> None:
        submissions.add(f"/ui/change/<workflow:name>/{kind}", rule, read, back="/ui/change/{name}")

    add("set-default", write_rules.SET_DEFAULT, partial(_set_default, releases))
    add("traffic", write_rules.TRAFFIC, partial(_traffic, releases, inspection))
    add("rollback", write_rules.ROLLBACK, partial(_rollback, releases))
    add("rollout", write_rules.ROLLOUT, partial(_rollout, releases))
    add("scale", write_rules.SCALE, partial(_scale, scaling))
    add("unregister", write_rules.UNREGISTER, partial(_unregister, removal))


def _set_default(releases: Releases, form: Form, name: str) -> Submission:
    given = {"version": _version(form)}
    wanted = ReleaseRequest(name=name, kind=ReleaseKind.SET_DEFAULT, given=given)
    return _release(releases, wanted, "PUT", f"{given['version']}/set-default")


def _traffic(releases: Releases, inspection: Inspection, form: Form, name: str) -> Submission:
    """Return the routing table with other shares; what else it says stays, but a rollout."""
    weights = {
        version: whole_number(f"weight of {version}", text or "0", least=0, most=WHOLE)
        for version, text in zip(form.getlist("version"), form.getlist("weight"), strict=False)
    }
    table = table_json(inspection.traffic(name)[1].table)
    given = {
        "routes": [{"version": version, "weight": weight} for version, weight in weights.items() if weight],
        **{key: table[key] for key in _KEPT if table[key] is not None},
    }
    wanted = ReleaseRequest(name=name, kind=ReleaseKind.TRAFFIC, given=given)
    return replace(_release(releases, wanted, "PUT", "traffic"), body=given)


def _rollback(releases: Releases, form: Form, name: str) -> Submission:
    given = {"to": Parameters({"to": form.get("to")}, write_rules.ROLLBACK.schemas).integer("to")}
    wanted = ReleaseRequest(name=name, kind=ReleaseKind.ROLLBACK, given=given)
    return replace(_release(releases, wanted, "POST", "rollback"), query=given)


def _rollout(releases: Releases, form: Form, name: str) -> Submission:
    given = {"action": Parameters({"action": form.get("action")}, write_rules.ROLLOUT.schemas).text("action")}
    if not given["action"]:
        raise BadRequest("Parameter action is required.")
    wanted = ReleaseRequest(name=name, kind=ReleaseKind.ROLLOUT, given=given)
    return replace(_release(releases, wanted, "POST", "rollout"), query=given)


def _release(releases: Releases, wanted: ReleaseRequest, method: str, path: str) -> Submission:
    return Submission(
        method=method,
        path=f"/workflows/{wanted.name}/{path}",
        act=lambda change: releases.make(wanted, change, is_awaited=False),
        answer=lambda made: to_operation(made.uid) if isinstance(made, Accepted) else to_workflow(wanted.name),
    )


def _scale(scaling: Scaling, form: Form, name: str) -> Submission:
    names = ("min_worker", "max_worker")
    parameters = Parameters({each: form.get(each) for each in names}, write_rules.SCALE.schemas)
    query = {each: value for each in names if (value := parameters.integer(each)) is not None}
    if not query:
        raise BadRequest("Expected min_worker or max_worker, or both.")
    settings = {SETTING_PARAMETERS[each].field: value for each, value in query.items()}
    version, node = _version(form), form.get("node", "")

    def act(change: Change) -> Scaled | Plan:
        if node:
            return scaling.update(name, version, node, settings, change, wait_s=None)
        return scaling.scale(name, version, settings, change, wait_s=None)

    def answer(scaled: Scaled) -> Response:
        return to_operation(scaled.operation) if scaled.operation else to_workflow(name)

    path = f"/workflows/{name}/{version}" + (f"/nodes/{node}" if node else "")
    return Submission(method="PUT", path=path, query=query, act=act, answer=answer)


def _unregister(removal: Removal, form: Form, name: str) -> Submission:
    """Return the removal of one version; of the whole workflow without one."""
    version = _version(form) if form.get("version") else None

    def act(change: Change) -> Unregistered | Plan:
        if change.dry_run:
            return removal.plan(name, version, change)
        if version is None:
            return removal.unregister(name, change)
        return removal.unregister_version(name, version, change)

    path = f"/workflows/{name}" if version is None else f"/workflows/{name}/{version}"
    return Submission(method="DELETE", path=path, act=act, answer=lambda _: see_other("/ui/workflows"))


def _version(form: Form) -> str:
    version = form.get("version", "")
    check_version(version)
    return version
