"""gunicorn's own lines: its messages in the log of the service, and in the files that its options name."""

import logging
import sys
from typing import Any

from gunicorn.glogging import Logger

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


def _line_handler(descriptor: int) -> logging.Handler:
    """Return a handler that neither blocks nor fails when the descriptor is not read or cannot be written."""
    handler = StderrHandler(descriptor)
    handler.setFormatter(_AccessFormatter())
    return handler
