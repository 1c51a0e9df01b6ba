"""The whole service with its models on a TorchServe 0.12.0 that really runs."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import requests

from examples.build import WORKFLOWS, build
from tests.support.deployments import deployed
from tests.support.real_torchserve import SMALL, VENV, TorchServe
from tests.support.service import Service, wait_until
from tests.support.torchserve_servers import settings_for

pytestmark = pytest.mark.torchserve

BODIES = {
    "text": (b"What a great and happy day", "text/plain"),
    "bytes": (b"what a bad day", "application/octet-stream"),
    "nothing": (b"", "application/octet-stream"),
    "not text": (b"\xff\xfe", "application/octet-stream"),
}


@pytest.fixture(name="stores", scope="module")
def _stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the stores with all examples, of the one deployment that has its models on TorchServe at a time."""
    return build_stores(tmp_path_factory.mktemp("stores"))


@pytest.fixture(name="local", scope="module")
def _local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Return a deployment that runs the models of all examples itself, from stores of its own."""
    folder = tmp_path_factory.mktemp("local")
    with deployed(folder / "instance", **build_stores(folder)) as service:
        register_all(service)
        yield service


def build_stores(folder: Path) -> dict[str, Path]:
    """Build all examples into stores in a folder."""
    stores = {"workflow_store": folder / "workflow_store", "model_store": folder / "model_store"}
    build(**stores)
    return stores


def register_all(service: Service) -> None:
    """Register all examples."""
    for name in WORKFLOWS:
        answer = service.register(f"{name}.war")
        assert answer.ok, answer.text


def answers(service: Service, workflow: str) -> bool:
    """Return whether a workflow answers."""
    return ask(service, workflow, "text")[0] == 200


def ask(service: Service, workflow: str, body: str) -> tuple[int, bytes, str]:
    """Return status, bytes and content type of an answer; of an error the bytes are the handler's business."""
    content, content_type = BODIES[body]
    url = f"{service.inference}/wfpredict/{workflow}"
    answer = requests.post(url, data=content, headers={"Content-Type": content_type}, timeout=60)
    return answer.status_code, answer.content if answer.ok else b"", answer.headers["Content-Type"]


@pytest.mark.parametrize("with_keys", [False, True], ids=["open", "with keys"])
def test_examples_answer_the_same_bytes(
    local: Service, stores: dict[str, Path], tmp_path: Path, *, with_keys: bool
) -> None:
    """The answers do not depend on where the models run."""
    server = TorchServe(VENV, tmp_path / "t", stores["model_store"], token_authorization=with_keys, settings=SMALL)
    with server:
        keys = {} if server.key_file is None else {"torchserve_key_files": server.key_file}
        with deployed(tmp_path / "i", **stores, **settings_for(server), **keys) as service:
            register_all(service)
            for workflow in WORKFLOWS:
                for body in BODIES:
                    assert ask(service, workflow, body) == ask(local, workflow, body), (workflow, body)


def test_restarted_server_gets_all_models_again(stores: dict[str, Path], tmp_path: Path) -> None:
    """It comes back empty on the same ports, and all workflows answer again without anyone acting."""
    with TorchServe(VENV, tmp_path / "t", stores["model_store"], settings=SMALL) as server:
        settings = {**stores, **settings_for(server), "torchserve_check_s": 2}
        with deployed(tmp_path / "i", **settings) as service:
            register_all(service)
            server.restart()
            for workflow in WORKFLOWS:
                wait_until(partial(answers, service, workflow), timeout_s=60, what=workflow)
            models = requests.get(f"{server.management}/models", timeout=30).json()["models"]
            assert [model["modelName"] for model in models] == [
                "leaves__length",
                "leaves__sentiment",
                "parallel__length",
                "parallel__sentiment",
                "sequential__sentiment",
            ]
            for workflow in WORKFLOWS:
                assert service.unregister(workflow).ok
            assert requests.get(f"{server.management}/models", timeout=30).json() == {"models": []}
