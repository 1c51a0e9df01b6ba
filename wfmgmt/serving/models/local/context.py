"""The context of handlers: their environment, their requests, and the status and headers of their answers."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from wfmgmt.serving.models.local.handler_metrics import HandlerMetrics

_CONTENT_TYPE = "content-type"


#: Names of the headers in which TorchServe carries the sequences of stateful models.
_SEQUENCE_ID, _SEQUENCE_START, _SEQUENCE_END = (f"ts_request_sequence_{what}" for what in ("id", "start", "end"))


class RequestContext:
    """One request of a batch, and what the handler says about its answer: an element of `request_processor`.

    Attributes:
        request_id: Identity of the client's request.
        status: HTTP status of the answer.
        phrase: Reason phrase that came with it; it is not sent.
        response_headers: Headers of the answer.

    Source:
        TorchServe 0.12.0, class RequestProcessor: names and arguments of the methods that begin with a verb.
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

    def get_request_property(self, key: str) -> Any:  # noqa: ANN401 - a text, or a mapping for the name of a field
        """Return a header by its name in any case, None when there is none."""
        headers = self.request_headers
        if key in headers:
            return headers[key]
        wanted = key.lower()
        return next((value for name, value in headers.items() if name.lower() == wanted), None)

    def get_request_properties(self) -> dict[str, Any]:
        """Return all headers of the request."""
        return self.request_headers

    def report_status(self, code: int, reason_phrase: str | None = None) -> None:
        """Set the HTTP status of the answer."""
        self.status, self.phrase = code, reason_phrase

    def get_response_status_code(self) -> Any:  # noqa: ANN401 - what the handler set
        """Return the HTTP status of the answer."""
        return self.status

    def get_response_status_phrase(self) -> str | None:
        """Return the reason phrase that came with the status."""
        return self.phrase

    def add_response_property(self, key: str, value: str) -> None:
        """Set a header of the answer."""
        self.response_headers[key] = value

    def get_response_headers(self) -> dict[str, Any]:
        """Return the headers that were set for the answer."""
        return self.response_headers

    def get_response_header(self, key: str) -> str | None:
        """Return a header that was set for the answer."""
        return self.response_headers.get(key)


class _NoStream:
    """The socket to which TorchServe's `send_intermediate_predict_response` writes parts of an answer.

    Workflows have no such answers: TorchServe hands the first part to the next node, or to the client as the whole
    answer, and drops the rest. An error is better than that.
    """

    def sendall(self, data: object) -> None:
        """Refuse a part of an answer."""
        del data
        raise NotImplementedError("a workflow cannot pass on parts of an answer (send_intermediate_predict_response)")


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
        request_processor: The requests of the batch themselves; None while the handler is initialised.
        stopping_criteria: For handlers of continuous batches, which workflows do not have; theirs to use.
        cl_socket: Refuses parts of answers.

    Source:
        TorchServe 0.12.0, "Custom Service", the context object of handlers, and its class Context. Names of headers
        are case-sensitive there.
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
        self.metrics = HandlerMetrics(model_name)
        self.model_yaml_config = dict(model_yaml_config or {})
        self.request_ids: dict[int, str] | None = None
        self.request_processor: Any = None
        self.stopping_criteria: Any = None
        self.cl_socket = _NoStream()
        self.header_key_sequence_id = _SEQUENCE_ID
        self.header_key_sequence_start = _SEQUENCE_START
        self.header_key_sequence_end = _SEQUENCE_END

    def begin(self, requests: Sequence[RequestContext]) -> None:
        """Make these the requests that the handler is asked next."""
        self.request_processor = requests
        self.request_ids = {index: request.request_id for index, request in enumerate(requests)}
        self.metrics.request_ids = self.request_ids

    def get_request_id(self, idx: int = 0) -> str | None:
        """Return the identity of a request."""
        return None if self.request_ids is None else self.request_ids.get(idx)

    def get_request_header(self, idx: int, key: str) -> Any:  # noqa: ANN401 - see `RequestContext.get_request_property`
        """Return a header of a request, None when it has none of that name."""
        return self.request_processor[idx].get_request_property(key)

    def get_all_request_header(self, idx: int) -> dict[str, Any]:
        """Return all headers of a request."""
        headers: dict[str, Any] = self.request_processor[idx].get_request_properties()
        return headers

    def get_sequence_id(self, idx: int) -> str | None:
        """Return which sequence of requests to a stateful model a request belongs to."""
        sequence: str | None = self.request_processor[idx].get_request_property(self.header_key_sequence_id)
        return sequence

    def set_response_content_type(self, idx: int, value: str) -> None:
        """Set the content type of an answer."""
        self.set_response_header(idx, _CONTENT_TYPE, value)

    def get_response_content_type(self, idx: int) -> str | None:
        """Return the content type that was set for an answer."""
        return self.get_response_headers(idx).get(_CONTENT_TYPE)

    def set_response_header(self, idx: int, key: str, value: str) -> None:
        """Set a header of an answer."""
        self.request_processor[idx].add_response_property(key, value)

    def get_response_headers(self, idx: int) -> dict[str, Any]:
        """Return the headers that were set for an answer."""
        headers: dict[str, Any] = self.request_processor[idx].get_response_headers()
        return headers

    def set_response_status(self, code: int = 200, phrase: str = "", idx: int = 0) -> None:
        """Set the HTTP status of an answer; without any effect while the handler is initialised."""
        if self.request_processor is not None:
            self.request_processor[idx].report_status(code, reason_phrase=phrase)

    def set_all_response_status(self, code: int = 200, phrase: str = "") -> None:
        """Set the HTTP status of all answers of the batch."""
        for index in range(len(self.request_processor)):
            self.set_response_status(code, phrase, index)

    def get_response_status(self, idx: int) -> tuple[Any, str | None]:
        """Return the HTTP status of an answer and its reason phrase."""
        processor = self.request_processor[idx]
        return processor.get_response_status_code(), processor.get_response_status_phrase()
