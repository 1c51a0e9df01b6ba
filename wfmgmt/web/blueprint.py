"""The blueprint of the page: what all its answers have in common, its files, and the way to it."""

from http import HTTPStatus

from flask import Blueprint, Response, request
from werkzeug.exceptions import NotFound

from wfmgmt.api.errors import error_answer
from wfmgmt.errors.access import CredentialsRefused, Forbidden
from wfmgmt.services.sessions import Sessions
from wfmgmt.web.files import StaticFiles
from wfmgmt.web.rendering import HTML, add_rendering, render, see_other
from wfmgmt.web.session import form_owner, may_be_a_browser
from wfmgmt.web.sign_in import UNGUARDED, add_sign_in

ROOT = "/ui/"
HOME = "/ui/workflows"
_OWN = ("script-src", "style-src", "img-src", "connect-src", "form-action")
#: A browser takes nothing from elsewhere, runs no code but that of our files, and shows the page in no other one.
POLICY = "; ".join(
    ("default-src 'none'", *(f"{kind} 'self'" for kind in _OWN), "base-uri 'none'", "frame-ancestors 'none'")
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def web_blueprint(sessions: Sessions) -> Blueprint:
    """Return the blueprint, with no page but the one to sign in at."""
    blueprint = Blueprint("web", __name__, template_folder="templates")
    files = StaticFiles()
    add_rendering(blueprint, sessions, files)
    add_sign_in(blueprint, sessions)
    _guard_forms(blueprint, sessions)
    blueprint.before_app_request(_send_browsers_here)
    blueprint.after_request(_with_headers)
    blueprint.register_error_handler(Exception, _show_error)
    blueprint.add_url_rule("/ui/static/<file>", "static_file", files.answer)

    @blueprint.get(ROOT)
    def home() -> Response:
        return see_other(HOME)

    @blueprint.get("/ui/<path:unknown>")
    def unknown_page(unknown: str) -> Response:
        raise NotFound(unknown)

    return blueprint


def _guard_forms(blueprint: Blueprint, sessions: Sessions) -> None:
    @blueprint.before_request
    def check_form() -> None:
        """Let only forms of our own pages change something; clients that are no browsers need none."""
        if request.method != "POST" or request.path in UNGUARDED or not may_be_a_browser(request):
            return
        if not sessions.is_form_token(request.form.get("form_token", ""), form_owner(request)):
            raise Forbidden("This form belongs to a session that has ended; load the page again.")


def _send_browsers_here() -> Response | None:
    """Send those who open the address in a browser to the page; all others get what the API answers."""
    if request.path == "/" and request.method in {"GET", "HEAD"} and _is_browser():
        return Response(status=HTTPStatus.FOUND, headers={"Location": ROOT})
    return None


def _with_headers(answer: Response) -> Response:
    for name, value in _HEADERS.items():
        answer.headers.setdefault(name, value)
    return answer


def _show_error(error: Exception) -> Response:
    """Return a page where a browser asks, and the answer of the API where another client does."""
    answer = error_answer(error)
    if not _is_browser():
        return answer
    if isinstance(error, CredentialsRefused):
        answer.data = render("login.html", next=request.full_path if request.method == "GET" else HOME)
    else:
        answer.data = render("error.html", error=answer.get_json(), status=answer.status)
    answer.content_type = HTML
    return answer


def _is_browser() -> bool:
    """Return whether the client wants HTML, in so many words."""
    return any(kind == "text/html" for kind, _ in request.accept_mimetypes)
