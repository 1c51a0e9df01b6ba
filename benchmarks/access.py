"""What tokens cost: predictions with and without them, and refusals."""

import http.client
import math
import random
import secrets
import statistics
import time
from bisect import bisect_left
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.figures import Figure
from benchmarks.processes import cpu_s
from benchmarks.wrk import run_wrk
from examples.build import build
from tests.support.processes import runtime_pid
from tests.support.service import Service, wait_until
from wfmgmt.domain.tokens import PREFIX, new_token, token_of

ROUNDS, SECONDS, CONNECTIONS = 10, 4, 16
#: Tokens beside the one that is shown.
TOKENS = 100
REFUSALS = 200
#: Requests with each kind of token whose times are compared.
COMPARED = 1000
_NAME = "sequential"
_SCRIPT = 'wrk.method = "POST"\nwrk.body = "what a good day, and not a bad one"\n'


def predicting(folder: Path) -> list[Figure]:
    """Load the sequential example with a token and without one, in turns, in one service that lets both in.

    Two services that do the same differ by more than a token costs. Without a token, another header is as long.
    """
    service = Service(folder, inference_tokens="true", anonymous_role="admin")
    build(service.workflow_store, service.model_store)
    with service:
        assert service.register(f"{_NAME}.war").ok
        token, *_others = [_make(service, f"t{number}") for number in range(TOKENS)]
        scripts = [folder / "open.lua", folder / "token.lua"]
        for script, header in zip(scripts, ("X-Authorized-As", "Authorization"), strict=True):
            script.write_text(f'{_SCRIPT}wrk.headers["{header}"] = "Bearer {token}"\n', encoding="ascii")
        address = f"{service.inference}/wfpredict/{_NAME}"
        wait_until(lambda: run_wrk(address, seconds=1, connections=1, script=scripts[1]).failed == 0, timeout_s=30)
        rates: list[list[float]] = [[], []]
        spent_us: list[list[float]] = [[], []]
        for turn in range(ROUNDS):
            for number in (turn % 2, 1 - turn % 2):
                before_s = cpu_s(runtime_pid(service))
                measured = run_wrk(address, seconds=SECONDS, connections=CONNECTIONS, script=scripts[number])
                assert not measured.failed, measured
                rates[number].append(measured.requests_per_s)
                spent = cpu_s(runtime_pid(service)) - before_s
                spent_us[number].append(1_000_000 * spent / (SECONDS * measured.requests_per_s))
    ratio = statistics.median(shown / none for none, shown in zip(*rates, strict=True))
    how = f"sequential, {CONNECTIONS} connections, median of {ROUNDS} rounds"
    return [
        Figure(what=f"{how}, without a token", value=statistics.median(rates[0]), unit="requests/s"),
        Figure(what=f"{how}, with one of {TOKENS} tokens, of that", value=100 * ratio, unit="%", at_least=98),
        Figure(
            what="processor time of the runtime for a request without", value=statistics.median(spent_us[0]), unit="µs"
        ),
        Figure(what="the same with a token", value=statistics.median(spent_us[1]), unit="µs"),
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
        spent_ms = _spent_ms(service.management, "/workflows/none", shown, rounds=REFUSALS)
    how = f"request of the management API that shows a token, median of {REFUSALS}, one"
    return [
        Figure(what=f"{how} {kind}", value=statistics.median(each), unit="ms", at_most=None if kind == "right" else 5)
        for kind, each in spent_ms.items()
    ]


def comparing(folder: Path) -> list[Figure]:
    """Tell tokens apart by the time that requests with them take, on both addresses.

    A figure is how often a request took longer than one with an unknown token: half the time when nothing can be told,
    within three standard errors.
    """
    with Service(folder, web_workers=1, inference_tokens="true") as service:
        right, revoked = _make(service, "right"), _make(service, "revoked")
        assert service.command("token", "revoke", "revoked").returncode == 0
        tokens = {
            "unknown": new_token(),
            "another unknown one": new_token(),
            "unknown, beginning as the right one": _like(right),
            "revoked": revoked,
            "right": right,
        }
        headers = {kind: f"Bearer {token}" for kind, token in tokens.items()}
        planes = {
            "management": (service.management, "/workflows/none"),
            "inference": (service.inference, "/wfpredict/none"),
        }
        return [
            figure
            for plane, (address, path) in planes.items()
            for figure in _compared(plane, _spent_ms(address, path, headers, rounds=COMPARED))
        ]


def _like(token: str) -> str:
    """Return another token that begins as one does, in all but its last two random characters."""
    beginning = token.removeprefix(PREFIX)[:28]
    return next(found for end in ("aa", "bb") if (found := token_of(f"{beginning}{end}")) != token)


def _compared(plane: str, spent_ms: Mapping[str, list[float]]) -> list[Figure]:
    unknown, *others = spent_ms
    known = sorted(spent_ms[unknown])
    error = 100 / math.sqrt(6 * len(known))  # Of that share, after Mann and Whitney, when both take equally long.
    shares = {
        kind: 100 * statistics.mean(bisect_left(known, each) / len(known) for each in spent_ms[kind]) for kind in others
    }
    return [
        Figure(what=f"{plane}, median with a token that is {unknown}", value=statistics.median(known), unit="ms"),
        *(
            Figure(
                what=f"{plane}, {kind}: median {statistics.median(spent_ms[kind]):.3g} ms; took longer in "
                f"{share:.1f} %, which is not half by",
                value=abs(share - 50),
                unit="points",
                at_most=None if kind == "right" else 3 * error,
            )
            for kind, share in shares.items()
        ),
    ]


def _spent_ms(address: str, path: str, shown: Mapping[str, str], *, rounds: int) -> dict[str, list[float]]:
    """Send a request with each of some headers, in another order each time, and return how long they took.

    Each round comes from an address of its own, since refused ones are held back. Addresses share counters, so a round
    may be held back all the same, and is left out.
    """
    host, port = urlsplit(address).hostname or "", urlsplit(address).port
    spent_ms: dict[str, list[float]] = {kind: [] for kind in shown}
    for number in range(rounds):
        source = f"127.8.{number // 50}.{number % 50 + 1}"
        statuses, spent = {}, {}
        for kind, header in random.sample(list(shown.items()), len(shown)):
            connection = http.client.HTTPConnection(host, port, timeout=10, source_address=(source, 0))
            connection.connect()
            began = time.perf_counter()
            connection.request("GET", path, headers={"Authorization": header})
            statuses[kind] = connection.getresponse().status
            spent[kind] = (time.perf_counter() - began) * 1000
            connection.close()
        if HTTPStatus.TOO_MANY_REQUESTS in statuses.values():
            continue
        assert statuses == {kind: 404 if kind == "right" else 401 for kind in shown}, statuses
        for kind, each in spent.items():
            spent_ms[kind].append(each)
    return spent_ms


def _make(service: Service, name: str) -> str:
    done = service.command("token", "create", name, "--role", "admin")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
