"""The configuration file of a model, as a registration takes it."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.support.factories import make_mar, make_war
from tests.support.service import Service

SPEC = "models: {m: {url: m1.mar}}\ndag: {m: []}\n"
SLOW = "import time\ndef handle(data, context):\n    return data and ['ok'] or time.sleep(2)\n"


def register(service: Service, config: str | None, **parameters: Any) -> requests.Response:
    """Register a model that is slow to load with this configuration file; None leaves the file out."""
    manifest = {"model": {"modelName": "m", "handler": "handler.py", "configFile": "c.yaml"}}
    files = {} if config is None else {"c.yaml": config}
    make_mar(service.model_store, source=SLOW, manifest=manifest, extra_files=files)
    make_war(service.workflow_store, name="configured", spec=SPEC, handler=None)
    return requests.post(f"{service.management}/workflows", params={"url": "configured.war", **parameters}, timeout=60)


@pytest.fixture(autouse=True)
def _nothing_left(service: Service) -> Iterator[None]:
    yield
    (service.workflow_store / "configured.war").unlink()
    (service.model_store / "m1.mar").unlink()


def test_workers_and_timeouts_of_the_file_count(service: Service) -> None:
    """The model has its time to load and its workers; what does not count is a warning."""
    config = "minWorkers: 2\nmaxWorkers: 3\nstartupTimeout: 60\nresponseTimeout: 5\nbatchSize: 4\n"
    answer = register(service, config, startup_timeout=1)
    assert answer.status_code == 200, answer.text
    warning = "models.m: c.yaml: batchSize has no effect, batch-size of the spec counts, which is 1"
    assert answer.json()["warnings"] == [warning]
    (described,) = requests.get(f"{service.management}/workflows/configured", timeout=30).json()
    (node,) = described["nodes"]
    assert (node["minWorkers"], node["maxWorkers"], node["timeoutMs"], node["readyWorkers"]) == (2, 3, 5000, 2)
    assert service.unregister("configured").ok


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (None, "model.configFile: there is no file 'c.yaml' in the archive"),
        ("- 1", "c.yaml: expected a mapping of settings"),
        ("a: [", "c.yaml is not YAML: "),
        ("a: !!python/object:os.system 1", "c.yaml is not YAML: could not determine a constructor for the tag"),
    ],
    ids=["missing", "list", "unclosed", "tag"],
)
def test_file_that_cannot_be_read_is_the_archives_fault(service: Service, config: str | None, reason: str) -> None:
    """It is a 400 that says why, also where only the handler's parser can tell."""
    answer = register(service, config)
    assert (answer.status_code, answer.json()["type"]) == (400, "WorkflowException")
    assert reason in answer.json()["message"]
