"""gunicorn's own lines: its messages in the log of the service, and in the files that its options name."""

import logging
import sys
from collections.abc import Mapping
from datetime import timedelta
from http import HTTPStatus
from typing import Any

from gunicorn.glogging import Logger

from wfmgmt.http import access_log
from wfmgmt.http.answers import REQUEST_ID
from wfmgmt.logs import StderrHandler, TextFormatter, escaped

_STDOUT = 1


class _AccessFormatter(logging.Formatter):
    """Writes the line that gunicorn's `access_log_format` makes; clients choose parts of it."""

    def format(self, record: logging.LogRecord) -> str:
        return escaped(record.getMessage())


class GunicornLogger(Logger):  # type: ignore[misc]  # gunicorn has no types
    """Makes gunicorn's options for its logs work beside the configuration of ours, which has no handlers for them.

    `--access-logfile` gets a line for each request on the management address, `--error-logfile` gunicorn's messages;
    these go to the log of the service as well.
    """

    def setup(self, cfg: Any) -> None:  # noqa: ANN401 - gunicorn's own value
        """Set up what the options name, once more at each reload."""
        for handler in list(self.access_log.handlers):
            if isinstance(handler, StderrHandler):  # Ours, which gunicorn would leave beside the new one.
                self.access_log.removeHandler(handler)
        super().setup(cfg)
        for handler in list(self.access_log.handlers):
            handler.setFormatter(_AccessFormatter())
            if getattr(handler, "stream", None) is sys.stdout:
                self.access_log.removeHandler(handler)
                self.access_log.addHandler(_line_handler(_STDOUT))
        for handler in list(self.error_log.handlers):
            handler.setFormatter(TextFormatter())
            if cfg.errorlog == "-" and getattr(handler, "stream", None) is sys.stderr:
                self.error_log.removeHandler(handler)
        self.error_log.propagate = True
        self.error_log.setLevel(logging.NOTSET)

    @property
    def access_log_enabled(self) -> bool:
        """Whether there is anything to write lines of requests to; gunicorn takes our configuration for that."""
        return bool(self.access_log.handlers)

    def access(self, resp: Any, req: Any, environ: Mapping[str, Any], request_time: timedelta) -> None:  # noqa: ANN401 - gunicorn's own values
        """Log a request that was answered: as gunicorn's options say, and as `ACCESS_LOG` says."""
        super().access(resp, req, environ, request_time)
        if not access_log.is_on():
            return
        names = environ.get(access_log.NAMES_KEY) or {}
        access_log.log_request(
            method=environ["REQUEST_METHOD"],
            target=environ["RAW_URI"],
            status=resp.status_code or HTTPStatus.INTERNAL_SERVER_ERROR,
            took_s=request_time.total_seconds(),
            size_bytes=resp.sent,
            client=environ.get("REMOTE_ADDR", ""),
            request_id=next((value for name, value in resp.headers if name.lower() == REQUEST_ID), ""),
            workflow=names.get("name"),
            version=names.get("version"),
        )


def _line_handler(descriptor: int) -> logging.Handler:
    """Return a handler that neither blocks nor fails when the descriptor is not read or cannot be written."""
    handler = StderrHandler(descriptor)
    handler.setFormatter(_AccessFormatter())
    return handler
