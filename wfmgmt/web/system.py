"""The page of the service itself: whether it serves, what it has to do, and its settings."""

import platform
import re
from collections.abc import Mapping

from flask import Blueprint, Response

from wfmgmt.domain.redaction import redacted
from wfmgmt.services.inspection import Inspection
from wfmgmt.web.rendering import is_fragment, page


def add_system_page(blueprint: Blueprint, *, inspection: Inspection, settings: Mapping[str, object]) -> None:
    """Add the route to a blueprint.

    Args:
        blueprint: The blueprint.
        inspection: Says how everything is.
        settings: The settings in force, of which secrets show nothing as texts.
    """

    @blueprint.get("/ui/system")
    def system() -> Response:
        """Show how the service is; settings are for those who may do everything."""
        workflows, operations = inspection.counts()
        wanted, ready = inspection.workers()
        return page(
            "system_live.html" if is_fragment() else "system.html",
            problem=inspection.problem(),
            missing=len(inspection.missing()),
            workflows=workflows,
            operations=operations,
            wanted=wanted,
            ready=ready,
            files=inspection.store_files(),
            python=platform.python_version(),
            settings={name: redacted(_text(value)) for name, value in settings.items()},
        )


def _text(value: object) -> str:
    """Return the value of a setting as it may stand in the environment; nothing for none."""
    if isinstance(value, tuple):
        return ", ".join(map(_text, value))
    if isinstance(value, re.Pattern):
        return str(value.pattern)
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
