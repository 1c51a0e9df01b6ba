"""What a handler learns about itself, its surroundings and its requests, and how it shapes its answers."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from wfmgmt.serving.models.local.handler_metrics import HandlerMetrics

_CONTENT_TYPE = "content-type"


class Exchange:
    """One request of a batch, and what the handler says about its answer.

    Attributes:
        request_id: Identity of the client's request.
        status: HTTP status of the answer.
        phrase: Reason phrase that came with it; it is not sent.
        response_headers: Headers of the answer.
    """

    def __init__(self, request_id: str, headers: bytes, content_types: Mapping[str, str]) -> None:
        self.request_id = request_id
        self.status: Any = 200
        self.phrase: str | None = None
        self.response_headers: dict[str, Any] = {}
        self._encoded_headers = headers
        self._content_types = content_types
        self._headers: dict[str, Any] | None = None

    @property
    def request_headers(self) -> dict[str, Any]:
        """The client's headers, and for each field of the request the content type it came with."""
        if self._headers is None:  # Few handlers ask.
            parts = {name: {_CONTENT_TYPE: content_type} for name, content_type in self._content_types.items()}
            self._headers = {**parts, **json.loads(self._encoded_headers)}
        return self._headers

    def request_header(self, name: str) -> Any:  # noqa: ANN401 - a text, or a mapping for the name of a field
        """Return a header whatever the case of its name, None when there is none."""
        headers = self.request_headers
        if name in headers:
            return headers[name]
        wanted = name.lower()
        return next((value for key, value in headers.items() if key.lower() == wanted), None)


class Context:
    """The `context` argument of handlers. What is about a request takes its index in the batch.

    Attributes:
        model_name: `{workflow}__{node}`.
        manifest: The archive's manifest; None for functions.
        system_properties: `model_dir`, `gpu_id` (None without an accelerator), `batch_size`, `server_name`,
            `server_version` and `limit_max_image_pixels`. Each handler has its own copy.
        metrics: Takes what the handler counts and times.
        model_yaml_config: The configuration file that the manifest names, as YAML; empty without one.
        request_ids: Identities of the requests of the batch, by index; None while the handler is initialised.

    Source:
        TorchServe 0.12.0, "Custom Service", the context object of handlers. Names of headers are case-sensitive there.
    """

    def __init__(
        self,
        *,
        model_name: str,
        manifest: Mapping[str, Any] | None,
        system_properties: Mapping[str, Any],
        model_yaml_config: Mapping[str, Any] | None = None,
    ) -> None:
        self.model_name = model_name
        self.manifest = manifest
        self.system_properties = dict(system_properties)
        self.metrics = HandlerMetrics()
        self.model_yaml_config = dict(model_yaml_config or {})
        self.request_ids: dict[int, str] | None = None
        self._exchanges: Sequence[Exchange] = ()

    def begin(self, exchanges: Sequence[Exchange]) -> None:
        """Make these the requests that the handler is asked next."""
        self._exchanges = exchanges
        self.request_ids = {index: exchange.request_id for index, exchange in enumerate(exchanges)}

    def get_request_id(self, idx: int = 0) -> str | None:
        """Return the identity of a request."""
        return None if self.request_ids is None else self.request_ids.get(idx)

    def get_request_header(self, idx: int, key: str) -> Any:  # noqa: ANN401 - see `Exchange.request_header`
        """Return a header of a request, None when it has none of that name."""
        return self._exchanges[idx].request_header(key)

    def get_all_request_header(self, idx: int) -> dict[str, Any]:
        """Return all headers of a request."""
        return self._exchanges[idx].request_headers

    def set_response_content_type(self, idx: int, value: str) -> None:
        """Set the content type of an answer."""
        self.set_response_header(idx, _CONTENT_TYPE, value)

    def get_response_content_type(self, idx: int) -> str | None:
        """Return the content type that was set for an answer."""
        return self._exchanges[idx].response_headers.get(_CONTENT_TYPE)

    def set_response_header(self, idx: int, key: str, value: str) -> None:
        """Set a header of an answer."""
        self._exchanges[idx].response_headers[key] = value

    def get_response_headers(self, idx: int) -> dict[str, Any]:
        """Return the headers that were set for an answer."""
        return self._exchanges[idx].response_headers

    def set_response_status(self, code: int = 200, phrase: str = "", idx: int = 0) -> None:
        """Set the HTTP status of an answer."""
        self._exchanges[idx].status = code
        self._exchanges[idx].phrase = phrase

    def set_all_response_status(self, code: int = 200, phrase: str = "") -> None:
        """Set the HTTP status of all answers of the batch."""
        for index in range(len(self._exchanges)):
            self.set_response_status(code, phrase, index)

    def get_response_status(self, idx: int) -> tuple[int, str | None]:
        """Return the HTTP status of an answer and its reason phrase."""
        return self._exchanges[idx].status, self._exchanges[idx].phrase
