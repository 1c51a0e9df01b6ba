"""Sixty-four clients while the runtime is killed, or the service reloads: they wait, they do not fail.

The quick case of a reload is in test_restarts_under_load.py, for both planes.
"""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import aiohttp
import pytest

from tests.support.deployments import serving
from tests.support.processes import reload, runtime_pid, runtime_pids
from tests.support.service import Service, wait_until

CLIENTS = 64
#: How long clients go on before and after each disturbance, at least.
CALM_S = 1.0
RECOVERY_S = 60.0
#: A client's pause between its requests, so that all of them together leave room for the service.
THINK_S = 0.2


@dataclass(frozen=True)
class Outcome:
    """What became of one request, with monotonic times; the answer is None when the connection broke."""

    began_at: float
    ended_at: float
    status: int | None
    is_own: bool


@pytest.fixture(name="service", scope="module")
def _service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("killed") / "instance") as service:
        yield service


async def ask(client: aiohttp.ClientSession, service: Service, text: str) -> Outcome:
    """Send one request on a connection of its own."""
    began_at, status, content = time.monotonic(), None, b""
    with suppress(aiohttp.ClientError):
        async with client.post(f"{service.inference}/wfpredict/seq", data=text.encode()) as answer:
            content = await answer.read()
            status = answer.status
    return Outcome(began_at, time.monotonic(), status, content == text.encode())


async def ask_until(stop: asyncio.Event, client: aiohttp.ClientSession, service: Service, name: int) -> list[Outcome]:
    """Be one client."""
    outcomes: list[Outcome] = []
    while not stop.is_set():
        outcomes.append(await ask(client, service, f"{name} {len(outcomes)}"))
        await asyncio.sleep(THINK_S)
    return outcomes


async def disturb(service: Service, kind: str) -> float:
    """Kill the runtime or reload the service; return the time after which requests are no longer affected."""
    await asyncio.sleep(CALM_S)
    if kind == "reload":
        await asyncio.to_thread(reload, service, timeout_s=RECOVERY_S)
        return 0.0
    killed = await asyncio.to_thread(runtime_pid, service)
    os.kill(killed, signal.SIGKILL)
    killed_at = time.monotonic()
    await asyncio.to_thread(
        wait_until,
        lambda: set(runtime_pids(service)) - {killed},
        timeout_s=RECOVERY_S,
        what="another runtime",
    )
    return killed_at


async def load(service: Service, kind: str) -> tuple[list[Outcome], float]:
    """Have all clients ask while the service is disturbed, and until each was answered afterwards."""
    stop = asyncio.Event()
    timeout = aiohttp.ClientTimeout(total=RECOVERY_S)
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as client:
        clients = [asyncio.create_task(ask_until(stop, client, service, name)) for name in range(CLIENTS)]
        broken_until = await disturb(service, kind)
        assert (await ask(client, service, "again")).status == 200
        await asyncio.sleep(CALM_S)
        stop.set()
        return [outcome for outcomes in await asyncio.gather(*clients) for outcome in outcomes], broken_until


@pytest.mark.parametrize("kind", ["kill", pytest.param("reload", marks=pytest.mark.slow)])
def test_only_requests_that_a_killed_runtime_had_begun_fail(service: Service, kind: str) -> None:
    """Connections wait in the socket, which the master holds, and requests for the workflows to be there again."""
    outcomes, broken_until = asyncio.run(load(service, kind))
    failed = [outcome for outcome in outcomes if outcome.status != 200]
    assert all(outcome.is_own for outcome in outcomes if outcome.status == 200)
    assert [outcome for outcome in failed if outcome.began_at > broken_until] == []
    assert all(outcome.status is None for outcome in failed)
    assert len(failed) <= CLIENTS
    assert sum(outcome.began_at > broken_until for outcome in outcomes) >= CLIENTS
