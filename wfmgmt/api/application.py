"""The Flask application around all endpoints: bounded bodies, errors of one shape, and a count of answers."""

import re
import time
from collections.abc import Callable
from functools import cache

from flask import Flask, Response, g, request
from werkzeug.exceptions import NotFound
from werkzeug.routing import BaseConverter, Rule, ValidationError

from wfmgmt.api.errors import register_error_handlers
from wfmgmt.api.guard import REQUEST_ID_KEY
from wfmgmt.api.metrics import Metrics
from wfmgmt.domain.names import RESERVED_VERSIONS, VERSION_FORM, WORKFLOW_NAME_FORM
from wfmgmt.http.access_log import NAMES_KEY
from wfmgmt.http.answers import RECEIPT
from wfmgmt.registry.registry import LAST_RECEIPT, REQUEST_ID

#: A request to the management API is a few parameters.
MAX_BODY_BYTES = 64 * 1024


class OneWayRule(Rule):
    """A route that only finds its endpoint: no code is compiled that makes addresses of it, which we do not need.

    `url_for` raises werkzeug's BuildError.
    """

    def _compile_builder(self, *_: object, **_options: object) -> Callable[..., tuple[str, str]]:
        def refuse(*_: object) -> tuple[str, str]:
            raise ValidationError

        return refuse


class WorkflowConverter(BaseConverter):
    """A part of a path that may be the name of a workflow, where others follow: `..%2Fseq` is no version of `..`."""

    regex = WORKFLOW_NAME_FORM


class VersionConverter(BaseConverter):
    """A part of a path that may be a version: none of the words that have a meaning of their own there."""

    part_isolating = True
    regex = rf"(?!(?:{'|'.join(RESERVED_VERSIONS)})$){VERSION_FORM}"


def make_app(metrics: Metrics) -> Flask:
    """Return an application without endpoints yet.

    Slashes are taken as they come: a trailing one is tolerated, doubled ones are another path, nothing redirects.
    """
    app = Flask("wfmgmt", static_folder=None)
    app.url_rule_class = OneWayRule
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.config["MAX_FORM_MEMORY_SIZE"] = MAX_BODY_BYTES
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.url_map.converters.update(workflow=WorkflowConverter, version=VersionConverter)
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    app.url_map.redirect_defaults = False
    register_error_handlers(app)

    @app.before_request
    def _begin() -> None:
        g.began = time.perf_counter()
        g.request_id = request.environ[REQUEST_ID_KEY]
        REQUEST_ID.set(g.request_id)
        LAST_RECEIPT.set(None)
        if request.environ["PATH_INFO"].startswith("//"):
            # werkzeug takes several leading slashes for one even when the map forbids it, so it did find a route.
            request.url_rule = None
            raise NotFound

    @app.after_request
    def _end(answer: Response) -> Response:
        request.environ[NAMES_KEY] = request.view_args
        if (receipt := LAST_RECEIPT.get()) is not None:
            answer.headers[RECEIPT] = str(receipt)
        metrics.count(
            method=request.method if request.url_rule else "other",
            route=_label(request.url_rule.rule) if request.url_rule else "unknown",
            status=answer.status_code,
            duration_s=time.perf_counter() - g.began,
        )
        return answer

    return app


@cache
def _label(rule: str) -> str:
    """Return how metrics call a route: `/workflows/<name>/<version>`, without the forms of its parts."""
    return re.sub(r"<\w+:", "<", rule)
