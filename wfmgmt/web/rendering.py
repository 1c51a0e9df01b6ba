"""Pages from templates, and what all templates can use."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, g, render_template, request
from flask.blueprints import BlueprintSetupState
from jinja2 import StrictUndefined

from wfmgmt import __version__
from wfmgmt.api.access import caller
from wfmgmt.domain.access import Caller, Role
from wfmgmt.domain.explaining.words import amount
from wfmgmt.errors import WfmgmtError
from wfmgmt.logs import escaped
from wfmgmt.services.sessions import Sessions
from wfmgmt.web.files import StaticFiles
from wfmgmt.web.session import form_owner

#: The pages that the head of each page leads to, with the role that it takes to see them.
NAVIGATION = (
    ("Workflows", "/ui/workflows", Role.VIEW),
    ("Operations", "/ui/operations", Role.VIEW),
    ("Archives", "/ui/archives", Role.VIEW),
    ("Audit", "/ui/audit", Role.AUDIT),
    ("Tokens", "/ui/tokens", Role.ADMIN),
    ("System", "/ui/system", Role.VIEW),
)
HTML = "text/html; charset=utf-8"
#: From which on three digits need no decimal point; and how many times a unit the next larger one is.
_NO_POINT, _THOUSAND = 100, 1000
_UNITS = (("d", 86_400), ("h", 3600), ("min", 60))


def add_rendering(blueprint: Blueprint, sessions: Sessions, files: StaticFiles) -> None:
    """Give the templates of a blueprint what they use."""

    @blueprint.record_once
    def set_up(state: BlueprintSetupState) -> None:
        # Flask makes the environment at the first page, so that a service without any has none.
        state.app.jinja_options = {"undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}

    @blueprint.context_processor
    def common() -> dict[str, Any]:
        found = _caller()
        return {
            "caller": found,
            "may": lambda role: found.may(Role(role)),
            "is_signed_in": found.is_known and "Authorization" not in request.headers,
            "navigation": [(name, path) for name, path, role in NAVIGATION if found.may(role)],
            "asset": files.address,
            "form_token": lambda: sessions.form_token(form_owner(request)),
            "software": f"wfmgmt {__version__}",
            "now": datetime.now(UTC),
            "ago": ago,
            "amount": amount,
            "escaped": escaped,
            "number": number,
            "size": size,
            "milliseconds": milliseconds,
            "with_query": with_query,
        }


def _caller() -> Caller:
    """Return who looks; nobody where that cannot be found out, as on a page that says so."""
    # A token that was refused once would count as refused again.
    if "caller" in g or "Authorization" not in request.headers:
        with suppress(WfmgmtError):
            return caller()
    return Caller()


def render(template: str, **values: object) -> str:
    """Return a page, or a part of one."""
    return render_template(template, **values)


def page(template: str, status: int = HTTPStatus.OK, **values: object) -> Response:
    """Return the answer with a page."""
    return Response(render(template, **values), status, content_type=HTML)


def see_other(address: str) -> Response:
    """Return the answer that leads on after a form."""
    return Response(status=HTTPStatus.SEE_OTHER, headers={"Location": address})


def is_fragment() -> bool:
    """Return whether only what changes of a page is wanted."""
    return "HX-Request" in request.headers


def with_query(path: str, **parameters: object) -> str:
    """Return an address with those parameters that are given."""
    given = {name: str(value) for name, value in parameters.items() if value not in ("", None)}
    return f"{path}?{urlencode(given)}" if given else path


def ago(at: str, now: datetime) -> str:
    """Return how long ago a time was, as the registry has times."""
    passed = now - datetime.fromisoformat(at)
    for unit, seconds in _UNITS:
        if passed >= timedelta(seconds=seconds):
            return f"{int(passed.total_seconds()) // seconds} {unit} ago"
    return f"{max(int(passed.total_seconds()), 0)} s ago"


def number(value: float) -> str:
    """Return a number with three digits that count, and a narrow space between thousands."""
    if value >= _NO_POINT:
        return f"{value:,.0f}".replace(",", "\u202f")
    return f"{value:.3g}"


def milliseconds(value: float | None) -> str:
    """Return a duration; a dash for none."""
    if value is None:
        return "\u2013"
    return f"{number(value)} ms" if value < _THOUSAND else f"{number(value / _THOUSAND)} s"


def size(count: int) -> str:
    """Return a number of bytes in the largest unit that it fills."""
    unit, value = "B", float(count)
    for larger in ("kB", "MB", "GB", "TB"):
        if value < _THOUSAND:
            break
        unit, value = larger, value / _THOUSAND
    return f"{number(value)} {unit}"
