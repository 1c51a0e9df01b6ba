"""The page that registers a workflow, or a further version of one."""

from flask import Blueprint, Response, request

from wfmgmt.api.parameters import Parameters, Schemas, query_parameters
from wfmgmt.api.workflows import registration_request
from wfmgmt.api.write_rules import REGISTER
from wfmgmt.domain.archives import ArchiveKind
from wfmgmt.domain.plans import Plan
from wfmgmt.services.archive_store import ArchiveStore
from wfmgmt.services.changes import Change
from wfmgmt.services.operation_records import Accepted
from wfmgmt.services.registration import Registration
from wfmgmt.services.registration_queue import RegistrationQueue
from wfmgmt.web.rendering import page
from wfmgmt.web.submissions import Form, Submission, Submissions, to_operation

#: Archives of the store that are proposed.
MAX_FILES = 1000
_FIELDS = ("url", "workflow_name", "version", "set_default", "startup_timeout")
_QUERY: Schemas = {"url": REGISTER.parameters["url"], "workflow_name": REGISTER.parameters["workflow_name"]}


def add_register_page(
    blueprint: Blueprint,
    submissions: Submissions,
    *,
    registration: Registration,
    queue: RegistrationQueue,
    archives: ArchiveStore,
) -> None:
    """Add the routes to a blueprint."""

    @blueprint.get("/ui/register")
    def show_register() -> Response:
        """Show the form, with the archives that lie in the store."""
        given = query_parameters(request, _QUERY)
        return page(
            "register.html",
            url=given.plain_text("url"),
            workflow_name=given.plain_text("workflow_name"),
            files=archives.names(ArchiveKind.WORKFLOW, limit=MAX_FILES),
        )

    def read(form: Form) -> Submission:
        query = {name: form[name].strip() for name in _FIELDS if form.get(name, "").strip()}
        wanted = registration_request(Parameters(query, REGISTER.schemas))

        def act(change: Change) -> Plan | Accepted:
            return registration.plan(wanted, change) if change.dry_run else queue.accept(wanted, change)

        return Submission(
            method="POST",
            path="/workflows",
            query={**query, "synchronous": "false"},
            act=act,
            answer=lambda accepted: to_operation(accepted.uid),
        )

    submissions.add("/ui/register", REGISTER, read, back="/ui/register")
