"""What handlers do with the context of TorchServe, seen by a client."""

from collections.abc import Iterator

import pytest
import requests

from tests.support.factories import make_war
from tests.support.service import Service
from wfmgmt.host import available_cores

SPEC = "models: {}\ndag: {pre: []}\n"
PROCESSOR = """
def pre(data, context):
    if data is None:
        return None
    processor = context.request_processor[0]
    processor.report_status(400, "no payload")
    processor.add_response_property("x-sequence", context.get_sequence_id(0))
    return [processor.get_request_properties()["User-Agent"]]
"""
STREAM = """
def pre(data, context):
    if data is None:
        return None
    context.cl_socket.sendall(b"first part")
    return ["rest"]
"""
METRICS = """
def pre(data, context):
    if data is None:
        return None
    context.metrics.get_metric("InferenceRequestCount").add_or_update(1, [context.model_name])
    return ["measured"]
"""
THREADS = """
import os

FOUND = os.environ.get("OMP_NUM_THREADS")

def pre(data, context):
    return None if data is None else [FOUND]
"""


def ask(service: Service, handler: str) -> requests.Response:
    """Return what a workflow of this one function answers."""
    make_war(service.workflow_store, name="context", spec=SPEC, handler=handler)
    answer = service.register("context.war")
    assert answer.status_code == 200, answer.text
    headers = {"User-Agent": "sagemaker", "ts_request_sequence_id": "s1"}
    return requests.post(f"{service.inference}/wfpredict/context", data=b"x", headers=headers, timeout=30)


@pytest.fixture(autouse=True)
def _nothing_left(service: Service) -> Iterator[None]:
    yield
    assert service.unregister("context").ok
    (service.workflow_store / "context.war").unlink()


def test_status_and_header_of_the_request_processor_reach_the_client(service: Service) -> None:
    """So handlers that are written for `sagemaker-inference` answer as they do there."""
    answer = ask(service, PROCESSOR)
    assert (answer.status_code, answer.headers["x-sequence"], answer.text) == (400, "s1", "sagemaker")


def test_handler_that_streams_fails_with_the_reason(service: Service) -> None:
    """Its first part is not taken for the whole of its answer."""
    answer = ask(service, STREAM)
    assert answer.status_code == 500
    assert "a workflow cannot pass on parts of an answer" in answer.json()["message"]


def test_metric_that_a_torchserve_declares_is_counted(service: Service) -> None:
    """A handler whose metrics stood in `metrics_config` finds them by their names."""
    assert ask(service, METRICS).text == "measured"
    wanted = 'wfmgmt_handler_count_total{name="InferenceRequestCount",node="pre",unit="count",workflow="context"} 1.0'
    assert wanted in service.inference_metrics()


def test_libraries_of_the_handler_find_the_threads_that_describe_shows(service: Service) -> None:
    """All cores for a node that has one worker, which no other one shares them with."""
    found = ask(service, THREADS).text
    (node,) = service.describe("context")["nodes"]
    assert (found, node["threads"]) == (str(available_cores()), available_cores())
