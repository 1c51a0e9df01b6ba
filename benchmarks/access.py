"""What tokens cost: predictions with and without them, and refusals."""

import http.client
import secrets
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.figures import Figure
from benchmarks.processes import cpu_s
from benchmarks.wrk import run_wrk
from examples.build import build
from tests.support.processes import runtime_pid
from tests.support.service import Service, wait_until
from wfmgmt.domain.tokens import new_token

ROUNDS, SECONDS, CONNECTIONS = 10, 4, 16
#: Tokens beside the one that is shown.
TOKENS = 100
REFUSALS = 200
_NAME = "sequential"
_SCRIPT = 'wrk.method = "POST"\nwrk.body = "what a good day, and not a bad one"\n'


def predicting(folder: Path) -> list[Figure]:
    """Load the sequential example in a service that asks for tokens and in one that does not, in turns.

    Clients show a token to both, so that what is compared is what the service does with it.
    """
    open_, guarded = Service(folder / "open"), Service(folder / "guarded", inference_tokens="true")
    for service in (open_, guarded):
        build(service.workflow_store, service.model_store)
    with open_, guarded:
        for service in (open_, guarded):
            assert service.register(f"{_NAME}.war").ok
        token, *_others = [_make(guarded, f"t{number}") for number in range(TOKENS)]
        script = folder / "post.lua"
        script.write_text(f'{_SCRIPT}wrk.headers["Authorization"] = "Bearer {token}"\n', encoding="ascii")
        address = f"{guarded.inference}/wfpredict/{_NAME}"
        wait_until(lambda: run_wrk(address, seconds=1, connections=1, script=script).failed == 0, timeout_s=30)
        rates: list[list[float]] = [[], []]
        spent_us: list[list[float]] = [[], []]
        for turn in range(ROUNDS):
            for number in (turn % 2, 1 - turn % 2):
                service = (open_, guarded)[number]
                before_s = cpu_s(runtime_pid(service))
                measured = run_wrk(
                    f"{service.inference}/wfpredict/{_NAME}",
                    seconds=SECONDS,
                    connections=CONNECTIONS,
                    script=script,
                )
                assert not measured.failed, measured
                rates[number].append(measured.requests_per_s)
                spent = cpu_s(runtime_pid(service)) - before_s
                spent_us[number].append(1_000_000 * spent / (SECONDS * measured.requests_per_s))
    ratio = statistics.median(guarded / open_ for open_, guarded in zip(*rates, strict=True))
    how = f"sequential, {CONNECTIONS} connections, median of {ROUNDS} rounds"
    return [
        Figure(what=f"{how}, open", value=statistics.median(rates[0]), unit="requests/s"),
        Figure(what=f"{how}, with one of {TOKENS} tokens, of that", value=100 * ratio, unit="%", at_least=98),
        Figure(
            what="processor time of the runtime for a request, open", value=statistics.median(spent_us[0]), unit="µs"
        ),
        Figure(what="the same with tokens", value=statistics.median(spent_us[1]), unit="µs"),
    ]


def refusing(folder: Path) -> list[Figure]:
    """Show tokens of each kind in turns, each request from an address of its own, so that none is held back."""
    with Service(folder, web_workers=1) as service:
        right, revoked = _make(service, "right"), _make(service, "revoked")
        assert service.command("token", "revoke", "revoked").returncode == 0
        shown = {
            "right": f"Bearer {right}",
            "revoked": f"Bearer {revoked}",
            "unknown": f"Bearer {new_token()}",
            "with a wrong checksum": f"Bearer {right[:-1]}{'a' if right[-1] != 'a' else 'b'}",
            "of no form": f"Basic {secrets.token_hex(16)}",
        }
        spent_ms = _spent_ms(service.management, "/workflows/none", shown)
    how = f"request of the management API that shows a token, median of {REFUSALS}, one"
    return [
        Figure(what=f"{how} {kind}", value=statistics.median(each), unit="ms", at_most=None if kind == "right" else 5)
        for kind, each in spent_ms.items()
    ]


def _spent_ms(address: str, path: str, shown: Mapping[str, str]) -> dict[str, list[float]]:
    host, port = urlsplit(address).hostname or "", urlsplit(address).port
    spent_ms: dict[str, list[float]] = {kind: [] for kind in shown}
    for number in range(REFUSALS):
        for kind, header in shown.items():
            source = f"127.8.{number // 50}.{number % 50 + 1}"
            connection = http.client.HTTPConnection(host, port, timeout=10, source_address=(source, 0))
            connection.connect()
            began = time.perf_counter()
            connection.request("GET", path, headers={"Authorization": header})
            status = connection.getresponse().status
            spent_ms[kind].append((time.perf_counter() - began) * 1000)
            connection.close()
            assert status == (404 if kind == "right" else 401), (kind, status)
    return spent_ms


def _make(service: Service, name: str) -> str:
    done = service.command("token", "create", name, "--role", "admin")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
