"""The page of one workflow."""

from flask import Blueprint, Response

from wfmgmt.api.access import caller
from wfmgmt.api.graph import drawing_answer
from wfmgmt.domain.access import Role
from wfmgmt.domain.explaining.words import saturation
from wfmgmt.domain.graphs.drawings import Drawings, GraphFormat
from wfmgmt.domain.workflow import SETTINGS
from wfmgmt.services.audit_trail import AuditTrail
from wfmgmt.services.explaining import Explaining
from wfmgmt.services.inspection import Inspection
from wfmgmt.services.operations import Operations
from wfmgmt.web.rendering import is_fragment, page

#: Releases, operations and events that the page shows.
LINES = 8


def add_workflow_pages(
    blueprint: Blueprint,
    *,
    inspection: Inspection,
    explaining: Explaining,
    operations: Operations,
    audit_trail: AuditTrail,
) -> None:
    """Add the routes to a blueprint."""
    drawings = Drawings()

    @blueprint.get("/ui/workflows/<workflow:name>")
    @blueprint.get("/ui/workflows/<workflow:name>/<version:version>", endpoint="version_page")
    def workflow(name: str, version: str | None = None) -> Response:
        """Show one version of a workflow, its default one unless named, and what has been done with all of them."""
        shown = inspection.describe(name, version)
        scope = caller().scope
        _, release, figures = inspection.traffic(name)
        return page(
            "workflow_live.html" if is_fragment() else "workflow.html",
            shown=shown,
            workflow=shown.workflow,
            explanation=explaining.explain(name, shown.workflow.version),
            measured={} if shown.figures is None else shown.figures.nodes,
            saturation=saturation,
            setting_names=[setting.api_name for setting in SETTINGS],
            versions=inspection.describe_all(name),
            release=release,
            traffic={} if figures is None else figures.versions,
            releases=inspection.releases(name, limit=LINES, before=None)[0],
            operations=operations.page(
                limit=LINES, before=None, state=None, kind=None, workflow=name, scope=scope, actor=caller().actor
            ),
            events=audit_trail.last_about(name, limit=LINES, scope=scope) if caller().may(Role.AUDIT) else None,
        )

    @blueprint.get("/ui/workflows/<workflow:name>/<version:version>/graph")
    def graph(name: str, version: str) -> Response:
        """Draw the graph of a version."""
        return drawing_answer(drawings, inspection.describe(name, version).workflow, GraphFormat.SVG)
