"""How the log is written: one line of text or one JSON object per event, to standard error."""

import json
import logging
import time
from typing import Any

EXTRA_FIELDS = ("request_id", "workflow", "node")


class TextFormatter(logging.Formatter):
    """Write `time level logger [workflow/node request]: message`."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s%(where)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, with whatever of workflow, node and request the event belongs to."""
        values = [str(value) for field in EXTRA_FIELDS if (value := getattr(record, field, None))]
        record.where = f" [{' '.join(values)}]" if values else ""
        return super().format(record)


class JsonFormatter(logging.Formatter):
    """Write one JSON object a line, with request id, workflow and node where they are known."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the object as one line."""
        fields: dict[str, Any] = {
            "time": TextFormatter().formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        fields |= {field: value for field in EXTRA_FIELDS if (value := getattr(record, field, None))}
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False)


def logging_config(log_format: str, log_level: str) -> dict[str, Any]:
    """Return the configuration for `logging.config.dictConfig`, for our own loggers and gunicorn's."""
    formatter = JsonFormatter if log_format == "json" else TextFormatter
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": formatter}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"level": log_level.upper(), "handlers": ["stderr"]},
        "loggers": {
            "gunicorn.error": {"level": log_level.upper(), "propagate": True, "handlers": []},
            "gunicorn.access": {"level": "WARNING", "propagate": True, "handlers": []},
            "alembic": {"level": "WARNING"},
            "aiohttp.access": {"level": "WARNING"},
        },
    }
