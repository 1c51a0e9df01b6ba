"""What a handler learns about itself and its surroundings."""

from collections.abc import Mapping
from typing import Any


class Context:
    """The `context` argument of handlers.

    Attributes:
        model_name: `{workflow}__{node}`.
        manifest: The archive's manifest; None for functions.
        system_properties: `model_dir`, `gpu_id` (None without an accelerator), `batch_size`, `server_name` and
            `server_version`. Each handler has its own copy.

    Source:
        TorchServe 0.12.0, "Custom Service", the context object of handlers.
    """

    def __init__(
        self, *, model_name: str, manifest: Mapping[str, Any] | None, system_properties: Mapping[str, Any]
    ) -> None:
        self.model_name = model_name
        self.manifest = manifest
        self.system_properties = dict(system_properties)
