"""Importing from a TorchServe 0.12.0 that really runs."""

import json
from pathlib import Path
from typing import Any

import pytest
import requests

from examples.build import WORKFLOWS, build
from tests.support.deployments import deployed
from tests.support.real_torchserve import SMALL, VENV, TorchServe

pytestmark = pytest.mark.torchserve

INPUT = b"What a great and happy day"


def headers(server: TorchServe, kind: str) -> dict[str, str]:
    """Return what requests to a server have to bring; nothing when it wants no keys."""
    if server.key_file is None:
        return {}
    return {"Authorization": f"Bearer {json.loads(server.key_file.read_text())[kind]['key']}"}


def predict(address: str, name: str, **options: Any) -> object:
    """Return what a workflow answers to the one input."""
    answer = requests.post(f"{address}/wfpredict/{name}", data=INPUT, timeout=30, **options)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("with_tokens", [False, True], ids=["open", "with tokens"])
def test_examples_are_imported_and_answer_alike(tmp_path: Path, *, with_tokens: bool) -> None:
    """All three, in one run; a second one finds them here, and a key that it wants is asked for."""
    stores = {"workflow_store": tmp_path / "workflows", "model_store": tmp_path / "models"}
    build(**stores)
    server = TorchServe(
        VENV,
        tmp_path / "torchserve",
        model_store=stores["model_store"],
        token_authorization=with_tokens,
        settings={"workflow_store": stores["workflow_store"], **SMALL},
    )
    with server, deployed(tmp_path / "instance") as service:
        for name in WORKFLOWS:
            parameters = {"url": f"{name}.war"}
            management = f"{server.management}/workflows"
            answer = requests.post(management, params=parameters, headers=headers(server, "management"), timeout=120)
            assert answer.status_code == 200, answer.text
        arguments = [f"--{option.replace('_', '-')}={folder}" for option, folder in stores.items()]
        if server.key_file is not None:
            refused = service.command("import-torchserve", server.management, *arguments)
            assert (refused.returncode, refused.stdout) == (1, "")
            assert "wants a key" in refused.stderr
            arguments.append(f"--key-file={server.key_file}")
        planned = service.command("import-torchserve", server.management, *arguments, "--dry-run")
        taken = service.command("import-torchserve", server.management, *arguments)
        assert taken.returncode == 0, taken.stdout + taken.stderr
        in_words = planned.stdout.replace("would be registered", "registered").replace("would be copied", "copied")
        assert in_words.replace("3 to register", "3 registered") == taken.stdout
        assert taken.stdout.splitlines()[-1] == "3 registered, 0 here already, 0 not imported"
        assert "there" not in taken.stdout  # No number is different.
        for name in WORKFLOWS:
            there = predict(server.inference, name, headers=headers(server, "inference"))
            assert predict(service.inference, name) == there
        again = service.command("import-torchserve", server.management, *arguments)
        assert (again.returncode, again.stdout.splitlines()[-1]) == (
            0,
            "0 registered, 3 here already, 0 not imported",
        )
