"""The page on opening the service to a team: all that it has its readers type works as they type it."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import requests

from tests.support.factories import make_war
from tests.support.service import CHECKOUT, Service

PAGE = (CHECKOUT / "docs" / "how-to" / "open-it-to-a-team.md").read_text(encoding="utf-8")
FUNCTION = "def pre_processing(data, context):\n    return None if data is None else ['hello']\n"
_COMMAND = re.compile(r"^\$ (.*)$", re.MULTILINE)
_SETTING = re.compile(r"WFMGMT_([A-Z_]+)=(\S+)")
_TOKEN = re.compile(r"wfm_[0-9A-Za-z]{36}")


def test_page_can_be_typed(tmp_path: Path) -> None:
    """Tokens before the start, the settings of the page but for free ports, then what its clients do."""
    prepare, serve, use = re.split(r"```sh\n(.*?)```", PAGE, maxsplit=1, flags=re.DOTALL)
    settings = dict(_SETTING.findall(serve))
    assert settings == {
        "MANAGEMENT_ADDRESS": "0.0.0.0:8081",
        "INFERENCE_ADDRESS": "0.0.0.0:8080",
        "INFERENCE_TOKENS": "true",
        "ALLOWED_HOSTS": "models.example",
    }
    given: dict[str, Any] = {name: re.sub(r":\d+$", ":0", value) for name, value in settings.items()}
    service = Service(tmp_path / "i", **given)
    make_war(service.workflow_store, name="seq", spec="dag: {pre_processing: []}\n", handler=FUNCTION)
    service.environment["PATH"] = f"{Path(sys.executable).parent}:{service.environment['PATH']}"
    # As on the machine of its readers, where the commands and the service share the settings.
    created = [typed(service, line).strip() for line in _COMMAND.findall(prepare)]
    assert len(created) == 4
    assert all(_TOKEN.fullmatch(token) for token in created)
    _alice, ci, _grafana, shop = created
    with service:
        addresses = (service.management, service.inference)
        management, inference = (f"http://127.0.0.1:{address.rpartition(':')[2]}" for address in addresses)
        lines = "\n".join(_COMMAND.findall(use))
        lines = lines.replace("http://models.example:8081", management).replace("http://models.example:8080", inference)
        service.environment["SHOP_TOKEN"] = shop
        shown = typed(service, _TOKEN.sub(ci, lines))
        host = {"Host": "models.example", "Authorization": f"Bearer {ci}"}
        assert requests.get(f"{management}/workflows", headers=host, timeout=30).status_code == 200
        assert requests.get(f"{management}/workflows", timeout=30).status_code == 401
    for expected in (
        "actor:     token:ci\nrole:      register\nworkflows: shop-*\n",
        "Workflow shop-seq has been registered and scaled successfully.",
        "hello",
        "token:ci",
    ):
        assert expected in shown, shown
    assert "Exception" not in shown


def typed(service: Service, lines: str) -> str:
    """Return what lines print that are typed into a shell."""
    done = subprocess.run(
        ["bash", "-e", "-c", lines],
        cwd=service.instance,
        env=service.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, (lines, done.stdout, done.stderr)
    return done.stdout
