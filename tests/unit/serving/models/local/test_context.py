"""What handlers find in their context."""

from collections.abc import Sequence

import pytest

from wfmgmt.serving.models.local.context import Context, RequestContext
from wfmgmt.serving.models.local.handler_metrics import HandlerMetrics


def make_context(*requests: bytes) -> Context:
    """Return the context of a handler that is asked these requests, given by their headers."""
    context = Context(model_name="w__m", manifest=None, system_properties={"model_dir": "/m"})
    if requests:
        context.begin(
            [RequestContext(f"r{index}", headers, {"body": "text/plain"}) for index, headers in enumerate(requests)]
        )
    return context


def test_request_processor_shows_the_request_and_shapes_the_answer() -> None:
    """What sagemaker-inference does with it has the same effect as the context's own methods."""
    context = make_context(b'{"User-Agent": "curl", "Accept": "*/*"}', b"{}")
    first, second = context.request_processor
    assert first.get_request_properties() == {
        "body": {"content-type": "text/plain"},
        "User-Agent": "curl",
        "Accept": "*/*",
    }
    assert (first.get_request_property("user-agent"), first.get_request_property("X")) == ("curl", None)
    first.report_status(400, reason_phrase="no payload")
    first.add_response_property("x-a", "1")
    assert context.get_response_status(0) == (400, "no payload")
    assert context.get_response_headers(0) == first.get_response_headers() == {"x-a": "1"}
    context.set_response_content_type(1, "image/png")
    context.set_response_status(201, idx=1)
    assert (second.get_response_status_code(), second.get_response_status_phrase()) == (201, "")
    assert (second.get_response_header("content-type"), second.get_response_header("x-a")) == ("image/png", None)


def test_context_of_a_handler_that_is_initialised_has_no_requests() -> None:
    """A status that is set then has no effect, as in TorchServe."""
    context = make_context()
    context.set_response_status(500)
    assert (context.request_processor, context.request_ids, context.get_request_id()) == (None, None, None)
    assert context.stopping_criteria is None


def test_get_sequence_id_is_the_header_of_the_request() -> None:
    """Handlers of stateful models find which sequence a request is part of."""
    context = make_context(b'{"ts_request_sequence_id": "s1"}', b"{}")
    assert (context.get_sequence_id(0), context.get_sequence_id(1)) == ("s1", None)
    assert context.header_key_sequence_start == "ts_request_sequence_start"


def test_cl_socket_refuses_parts_of_answers() -> None:
    """A handler that streams fails with the reason, and its answer is not silently cut short."""
    with pytest.raises(NotImplementedError, match="cannot pass on parts of an answer"):
        make_context(b"{}").cl_socket.sendall(b"part")


def test_context_gives_its_metrics_the_requests() -> None:
    """Handlers read them there, too."""
    context = make_context(b"{}", b"{}")
    assert (context.metrics.model_name, context.metrics.request_ids) == ("w__m", {0: "r0", 1: "r1"})


def noted(metrics: HandlerMetrics) -> Sequence[tuple[str, str, str, float]]:
    """Return what was measured since this was asked last."""
    return metrics.take()


def test_get_metric_gives_what_was_added_or_declared() -> None:
    """A metric is found by name and type; what a TorchServe's configuration may declare needs no declaration."""
    metrics = HandlerMetrics()
    added = metrics.add_metric_to_cache("level", "dB", ["ModelName"], "gauge")
    assert metrics.get_metric("level", "gauge") is added
    assert (added.metric_name, added.unit, added.dimension_names) == ("level", "dB", ["ModelName"])
    metrics.get_metric("level", "gauge").add_or_update(3, ["m"])
    metrics.get_metric("InferenceRequestCount").add_or_update(2)
    metrics.get_metric("HandlerTime", "gauge").update(7, "r1", [])
    assert noted(metrics) == [
        ("gauge", "level", "dB", 3.0),
        ("counter", "InferenceRequestCount", "count", 2.0),
        ("gauge", "HandlerTime", "ms", 7.0),
    ]
    assert metrics.cache_keys() == ["gauge:level", "counter:InferenceRequestCount", "gauge:HandlerTime"]


def test_add_methods_take_types_and_values_as_torchserve_does() -> None:
    """Errors count by their number, sizes and shares by the type that is asked for."""
    metrics = HandlerMetrics()
    metrics.add_error("bad", 3)
    metrics.add_error("bad", "a text")
    metrics.add_size("size", 5, 0, "kB", [], "histogram")
    metrics.add_percent("share", 5)
    metrics.add_metric("m", 1, "unit", metric_type="gauge")
    assert noted(metrics) == [
        ("counter", "bad", "count", 3.0),
        ("counter", "bad", "count", 1.0),
        ("histogram", "size", "kB", 5.0),
        ("gauge", "share", "percent", 5.0),
        ("gauge", "m", "unit", 1.0),
    ]
