"""The context of handlers has what that of TorchServe 0.12.0 has, attribute by attribute."""

import inspect
import json
import subprocess
from typing import Any

import pytest

from tests.support.real_torchserve import VENV
from wfmgmt.serving.models.local.context import Context, RequestContext
from wfmgmt.serving.models.local.handler_metrics import HandlerMetrics

pytestmark = pytest.mark.torchserve

#: Run by TorchServe's interpreter: what its own objects offer to handlers.
DESCRIBE = """
import inspect, json, os, ts
from ts.context import Context, RequestProcessor
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl

def public(made):
    found = {}
    for name in dir(made):
        if not name.startswith("_"):
            value = getattr(made, name)
            found[name] = list(inspect.signature(value).parameters) if inspect.ismethod(value) else None
    return found

metrics = MetricsCacheYamlImpl(os.path.join(os.path.dirname(ts.__file__), "configs", "metrics.yaml"))
context = Context("w__m", "/m", None, 1, None, "0.12.0", metrics=metrics)
context.request_ids, context.request_processor = {0: "r"}, [RequestProcessor({})]
context.cl_socket = None
print(json.dumps({
    "context": public(context),
    "request": public(context.request_processor[0]),
    "metrics": public(metrics),
    "metric": public(metrics.add_metric_to_cache("m", "count")),
    "properties": list(context.system_properties),
}))
"""
#: What TorchServe's own server does with its metrics, and no handler.
SERVERS_OWN = {"cache", "config_file_path", "initialize_cache", "store", "emit_metrics"}


@pytest.fixture(name="theirs", scope="module")
def _theirs() -> dict[str, Any]:
    done = subprocess.run([VENV / "bin" / "python", "-c", DESCRIBE], check=True, capture_output=True, text=True)
    described: dict[str, Any] = json.loads(done.stdout)
    return described


@pytest.fixture(name="context")
def _context() -> Context:
    names = ("model_dir", "gpu_id", "batch_size", "server_name", "server_version", "limit_max_image_pixels")
    context = Context(model_name="w__m", manifest=None, system_properties=dict.fromkeys(names))
    context.begin([RequestContext("r", b"{}", {})])
    return context


@pytest.mark.parametrize("part", ["context", "request", "metrics", "metric"])
def test_handlers_find_every_public_attribute(theirs: dict[str, Any], context: Context, part: str) -> None:
    """Methods take the same arguments by the same names; ours may add none that has to be given."""
    ours = {
        "context": context,
        "request": context.request_processor[0],
        "metrics": context.metrics,
        "metric": HandlerMetrics().add_metric_to_cache("m", "count"),
    }[part]
    for name, parameters in theirs[part].items():
        if name in SERVERS_OWN:
            continue
        assert hasattr(ours, name), name
        if parameters is not None:
            assert list(inspect.signature(getattr(ours, name)).parameters) == parameters, name


def test_system_properties_have_the_same_names(theirs: dict[str, Any], context: Context) -> None:
    """Handlers read their folder and accelerator from there."""
    assert list(context.system_properties) == theirs["properties"]
