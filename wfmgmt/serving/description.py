"""The OpenAPI description of the inference address."""

from typing import Any

from wfmgmt import __version__
from wfmgmt.domain.openapi import SHARED_PATHS, SHARED_SCHEMAS

INFERENCE_API: dict[str, Any] = {
    "openapi": "3.0.3",
    "info": {"title": "wfmgmt inference API", "version": __version__},
    "paths": SHARED_PATHS,
    "components": {"schemas": SHARED_SCHEMAS},
}
