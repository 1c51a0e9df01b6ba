"""Tokens on both addresses of a running service, from the commands that make them."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.support.deployments import deployed
from tests.support.factories import make_war
from tests.support.processes import runtime_pid, web_workers
from tests.support.service import Service, wait_until
from tests.support.tokens import bearer
from wfmgmt.domain.tokens import new_token

MAIN = "dag: {pre_processing: []}\n"
FUNCTION = "def pre_processing(data, context):\n    return None if data is None else ['hello']\n"
#: How long a revoked token may still be accepted, and room for a busy machine.
REVOKED_S = 10
#: Which of them depends on how often a token was refused within the minute, also before it was known.
REFUSED = (401, 429)


@pytest.fixture(name="service", scope="module")
def _service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with deployed(tmp_path_factory.mktemp("t"), inference_tokens="true") as service:
        for name in ("shop-a", "other"):
            make_war(service.workflow_store, name=name, spec=MAIN, handler=FUNCTION)
            assert service.register(f"{name}.war").status_code == 200
        yield service


def make(service: Service, name: str, role: str, *more: str) -> dict[str, str]:
    """Make a token by the command, and return the header that shows it."""
    done = service.command("token", "create", name, "--role", role, *more)
    assert done.returncode == 0, done.stderr
    return bearer(done.stdout.strip())


def predict(service: Service, workflow: str, headers: dict[str, str] | None = None) -> int:
    """Return the status of a prediction."""
    answer = requests.post(f"{service.inference}/wfpredict/{workflow}", data=b"x", headers=headers, timeout=30)
    return answer.status_code


def test_token_counts_on_both_addresses_until_it_is_revoked(service: Service) -> None:
    """Made and revoked by commands while the service runs; others see nothing of workflows that they may not use."""
    shop = make(service, "shop", "predict", "--workflows", "shop-*")
    admin = make(service, "admin", "admin")
    wait_until(lambda: predict(service, "other", admin) == 200, timeout_s=REVOKED_S, what="the tokens")
    assert predict(service, "shop-a", shop) == 200
    assert (predict(service, "other", shop), predict(service, "shop-a")) == (404, 401)
    seen = requests.get(f"{service.management}/workflows", headers=admin, timeout=30)
    assert [each["workflowName"] for each in seen.json()["workflows"]] == ["other", "shop-a"]
    for address, expected in ((service.management, 401), (service.inference, 401)):
        assert requests.get(f"{address}/metrics", timeout=30).status_code == expected
        assert requests.get(f"{address}/metrics", headers=shop, timeout=30).status_code == 403
        assert requests.get(f"{address}/metrics", headers=admin, timeout=30).status_code == 200
        assert requests.get(f"{address}/ping", timeout=30).json() == {"status": "Healthy"}
    assert service.command("token", "revoke", "shop").returncode == 0
    assert service.command("token", "revoke", "admin").returncode == 0
    wait_until(lambda: predict(service, "shop-a", shop) in REFUSED, timeout_s=REVOKED_S, what="the refusal")

    def is_refused() -> bool:
        return requests.get(f"{service.management}/workflows", headers=admin, timeout=30).status_code in REFUSED

    wait_until(is_refused, timeout_s=REVOKED_S, what="the refusal")


def test_command_says_who_it_is(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the token in its environment."""
    token = make(service, "ci", "register", "--workflows", "shop-*", "--expires", "90d")
    monkeypatch.setitem(service.environment, "WFMGMT_TOKEN", token["Authorization"].removeprefix("Bearer "))
    done = service.command("whoami", "--url", service.management)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("actor:     token:ci\nrole:      register\nworkflows: shop-*\n")
    done = service.command("unregister", "other", "--url", service.management)
    assert (done.returncode, "Workflow not found: other" in done.stderr) == (4, True)
    monkeypatch.setitem(service.environment, "WFMGMT_TOKEN", new_token())
    done = service.command("whoami", "--url", service.management)
    assert (done.returncode, "Token Authorization failed" in done.stderr) == (1, True)


def test_no_process_leaves_its_memory_behind_when_it_crashes(service: Service) -> None:
    """It has tokens and passwords in it."""
    assert service.process is not None
    for pid in (service.process.pid, *web_workers(service), runtime_pid(service), *service.worker_pids()):
        assert re.search("Max core file size +0 ", Path(f"/proc/{pid}/limits").read_text())


def test_no_secret_gets_into_the_log_or_the_database(service: Service) -> None:
    """Neither of a token that is accepted nor of one that is refused."""
    token = make(service, "quiet", "view")
    wrong = bearer("wfm_" + "Z" * 36)
    for headers in (token, wrong):
        requests.get(f"{service.management}/workflows", headers=headers, timeout=30)
        predict(service, "other", headers)
    admin = make(service, "last", "admin")
    wait_until(lambda: predict(service, "shop-a", admin) == 200, timeout_s=REVOKED_S, what="the token")
    assert "refused a request from 127.0.0.1: its token is malformed" in service.text_of_log()
    for address in (service.management, service.inference):
        metrics = requests.get(f"{address}/metrics", headers=admin, timeout=30).text
        assert 'wfmgmt_failed_logins_total{reason="malformed"}' in metrics
    database = [path.read_bytes().decode("latin-1") for path in service.instance.glob("wfmgmt.db*")]
    kept = [service.text_of_log(), *database]
    for headers in (token, wrong):
        secret = headers["Authorization"].removeprefix("Bearer ")
        assert not any(secret in text or secret[12:] in text for text in kept)


@pytest.mark.parametrize(
    ("arguments", "address"),
    [((), "0.0.0.0:0"), (("--bind", "0.0.0.0:0"), "127.0.0.1:0")],
    ids=["setting", "gunicorn's option"],
)
def test_start_without_a_token_is_refused_where_others_reach_it(
    tmp_path: Path, arguments: tuple[str, ...], address: str
) -> None:
    """By the address on which gunicorn really listens; the line has both ways out."""
    code, line = Service(tmp_path / "i", *arguments, management_address=address).refusal()
    assert code == 2
    assert "make a token: wfmgmt token create NAME --role admin; or" in line
    assert "WFMGMT_ANONYMOUS_ROLE=admin" in line
