"""What handlers, specs and configurations do on a TorchServe 0.12.0 that really runs, and here."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest
import requests

from tests.support.deployments import deployed
from tests.support.factories import make_mar, make_war
from tests.support.real_torchserve import SMALL, VENV, TorchServe
from tests.support.service import Service

pytestmark = pytest.mark.torchserve

HANDLER = "def handle(data, context):\n    return None if data is None else ['handled by ' + __name__]\n"
FUNCTION = HANDLER.replace("handle(", "pre(")
CLASS = "class Some:\n    def initialize(self, context): ...\n    def handle(self, data, context): return ['class']\n"
MODEL_SPEC = "models: {m: {url: m1.mar}}\ndag: {m: []}\n"
FUNCTION_SPEC = "models: {}\ndag: {pre: []}\n"


@dataclass(frozen=True)
class Both:
    """A TorchServe and a deployment over the same stores."""

    there: TorchServe
    here: Service

    def predict(self) -> tuple[str, str]:
        """Register seq.war at both and ask both the same; return what each answers."""
        return _predict(self.there.management, self.there.inference), _predict(
            self.here.management, self.here.inference
        )


def _predict(management: str, inference: str) -> str:
    answer = requests.post(f"{management}/workflows", params={"url": "seq.war"}, timeout=60)
    if not answer.ok:
        return "not registered"
    try:
        return requests.post(f"{inference}/wfpredict/seq", data=b"x", timeout=60).text
    finally:
        assert requests.delete(f"{management}/workflows/seq", timeout=60).ok


@pytest.fixture(name="both", scope="module")
def _both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("both")
    with deployed(folder / "here") as here:
        settings = {"workflow_store": here.workflow_store, **SMALL}
        with TorchServe(VENV, folder / "there", here.model_store, settings=settings) as there:
            yield Both(there, here)


@pytest.mark.parametrize(
    ("handler", "files", "answer"),
    [
        ("my-handler.py", {"my-handler.py": HANDLER}, "handled by my-handler"),
        ("3d-unet.py", {"3d-unet.py": HANDLER}, "handled by 3d-unet"),
        ("my handler.py", {"my handler.py": HANDLER}, "handled by my handler"),
        ("处理-1", {"处理-1.py": HANDLER}, "handled by 处理-1"),
        ("pkg.mod:handle", {"pkg/__init__.py": "", "pkg/mod.py": HANDLER}, "handled by pkg.mod"),
        ("pkg.mod", {"pkg/x.py": "", "pkg/mod.py": "from . import x\n" + HANDLER}, "handled by pkg.mod"),
        ("pkg.py", {"pkg/__init__.py": HANDLER}, "handled by pkg"),
        ("__init__.py", {"__init__.py": HANDLER}, "handled by __init__"),
        ("sub/dir/h.py", {"h.py": HANDLER}, "handled by h"),
        ("sub/dir/h.py:handle", {"sub/dir/h.py": HANDLER}, "handled by h"),
        ("./h.py", {"h.py": HANDLER}, "handled by h"),
        ("h.py:", {"h.py": HANDLER}, "handled by h"),
        ("h:run", {"h.py": HANDLER.replace("handle(", "run(")}, "handled by h"),
        ("h.py:Some.handle", {"h.py": CLASS}, "class"),
        ("h.py:nosuch", {"h.py": HANDLER}, "not registered"),
        ("h.PY", {"h.PY": HANDLER}, "not registered"),
        ("sub\\h.py", {"h.py": HANDLER}, "not registered"),
        ("nosuch_handler", {}, "not registered"),
    ],
)
def test_models_are_found_by_the_same_names(both: Both, handler: str, files: Mapping[str, str], answer: str) -> None:
    """A handler string leads to the same module at both, or to none."""
    make_mar(both.here.model_store, handler=handler, source=None, extra_files=files)
    make_war(both.here.workflow_store, spec=MODEL_SPEC, handler="")
    assert both.predict() == (answer, answer)


@pytest.mark.parametrize(
    ("handler", "files", "answer"),
    [
        ("loading-memory-error.py", {"loading-memory-error.py": FUNCTION}, "handled by loading-memory-error"),
        ("h", {"h.py": FUNCTION}, "handled by h"),
        ("pkg.mod", {"pkg/mod.py": FUNCTION}, "handled by pkg.mod"),
        ("sub/h.py", {"sub/h.py": FUNCTION}, "handled by h"),
        ("sub/h.py", {"h.py": FUNCTION}, "not registered"),
        ("h.py:pre", {"h.py": FUNCTION}, "not registered"),
        ("h.py", {"h.py": CLASS}, "class"),
        ("h.py", {"h.py": "globals()['pre'] = lambda d, c: ['made']"}, "made"),
        ("h.py", {"h.py": "def __getattr__(name): return lambda d, c: ['made']"}, "made"),
        ("h.py", {"h.py": HANDLER}, "not registered"),
    ],
)
def test_functions_are_found_by_the_same_names(both: Both, handler: str, files: Mapping[str, str], answer: str) -> None:
    """So does the handler of a workflow, with functions that its source shows or that it makes."""
    manifest = {"workflow": {"workflowName": "seq", "specFile": "spec.yaml", "handler": handler}}
    make_war(both.here.workflow_store, spec=FUNCTION_SPEC, handler=None, manifest=manifest, extra_files=files)
    assert both.predict() == (answer, answer)


@pytest.mark.parametrize("node", ["my model", "ä-ö", "处 理", "1.2-x"])
def test_nodes_are_called_alike(both: Both, node: str) -> None:
    """Names of nodes that are no identifiers work at both, for models and for functions."""
    make_mar(both.here.model_store, source=HANDLER)
    spec = f"models: {{{node}: {{url: m1.mar}}}}\ndag: {{{node}: [f {node}]}}\n"
    handler = f"globals()['f {node}'] = lambda data, context: data and [row['body'] for row in data]\n"
    make_war(both.here.workflow_store, spec=spec, handler=handler)
    assert both.predict() == ("handled by handler", "handled by handler")


def test_specs_have_other_keys_beside_models_and_dag(both: Both) -> None:
    """Where anchors stand, and what describes the workflow."""
    make_mar(both.here.model_store, source=HANDLER)
    spec = "name: seq\ndefaults: &d {batch-size: 2}\nmodels: {m: {<<: *d, url: m1.mar}}\ndag: {m: []}\n"
    make_war(both.here.workflow_store, spec=spec, handler="")
    assert both.predict() == ("handled by handler", "handled by handler")


@pytest.mark.parametrize(
    ("config", "settings", "expected"),
    [
        ("minWorkers: 2\nmaxWorkers: 3\nbatchSize: 4\nmaxBatchDelay: 77\n", "", (2, 3, 1, 50)),
        ("minWorkers: 2\nmaxWorkers: 3\n", ", min-workers: 1, max-workers: 1, batch-size: 2", (2, 3, 2, 50)),
        ("minWorkers: 2\n", "", (1, 1, 1, 50)),
        ("maxWorkers: 3\n", "", (1, 1, 1, 50)),
        ("minWorkers: 3\nmaxWorkers: 2\n", "", (1, 1, 1, 50)),
        ("minWorkers: 0\nmaxWorkers: 1\n", "", (1, 1, 1, 50)),
        ("minWorkers: x\nmaxWorkers: -1\nresponseTimeout: 0\n", ", max-batch-delay: 20", (1, 1, 1, 20)),
    ],
)
def test_configuration_of_a_model_counts_alike(
    both: Both, config: str, settings: str, expected: tuple[int, int, int, int]
) -> None:
    """Workers are those of the file when it gives a range, batches those of the spec."""
    _make_configured(both, config, settings)
    keys = ("minWorkers", "maxWorkers", "batchSize", "maxBatchDelay")
    for management in (both.there.management, both.here.management):
        assert requests.post(f"{management}/workflows", params={"url": "seq.war"}, timeout=60).ok
    (there,) = requests.get(f"{both.there.management}/models/seq__m", timeout=30).json()
    (here,) = requests.get(f"{both.here.management}/workflows/seq", timeout=30).json()
    (node,) = here["nodes"]
    for management in (both.there.management, both.here.management):
        assert requests.delete(f"{management}/workflows/seq", timeout=60).ok
    assert tuple(there[key] for key in keys) == tuple(node[key] for key in keys) == expected


def test_response_timeout_of_a_model_ends_its_answer(both: Both) -> None:
    """A worker that takes longer than its file allows fails the request, though the spec gives it more."""
    _make_configured(both, "responseTimeout: 1\n", ", timeout-ms: 20000, retry-attempts: 0", delay_s=4)
    for answer in both.predict():
        assert "Error executing m" in answer


def _make_configured(both: Both, config: str, settings: str, delay_s: float = 0) -> None:
    manifest = {"model": {"modelName": "m", "handler": "handler.py", "modelVersion": "1.0", "configFile": "c.yaml"}}
    source = f"import time\ndef handle(data, context):\n    return data and [time.sleep({delay_s}) or 'ok']\n"
    make_mar(both.here.model_store, source=source, manifest=manifest, extra_files={"c.yaml": config})
    spec = f"models: {{m: {{url: m1.mar{settings}}}}}\ndag: {{m: []}}\n"
    make_war(both.here.workflow_store, spec=spec, handler="")
