"""Load that the short tests and `make chaos` share: many clients, and walks through a list that changes."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import aiohttp
import requests

from tests.support.factories import make_mar, make_war
from tests.support.service import Service

#: A workflow without processes, so that registrations cost what the management plane costs.
IDLE_SPEC = "models:\n  min-workers: 0\n  m1: {url: m1.mar}\ndag:\n  m1: []\n"
#: A client asks about so often; a crowd that asks as fast as it can only measures the machine.
THINK_S = 4.0


def make_idle_workflow(service: Service) -> None:
    """Put the archives of a workflow without processes into the stores, as `idle.war`."""
    make_war(service.workflow_store, name="idle", spec=IDLE_SPEC, handler=None)
    make_mar(service.model_store)


@dataclass(kw_only=True)
class Load:
    """What many clients saw.

    Attributes:
        statuses: How often each status was answered.
        surprises: Answers that should not be.
        reads_s: Time that each read took.
        writes_s: Time that each change took.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    surprises: list[str] = field(default_factory=list)
    reads_s: list[float] = field(default_factory=list)
    writes_s: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{len(self.reads_s)} reads, p99 {p99(self.reads_s) * 1000:.0f} ms; "
            f"{len(self.writes_s)} changes, p99 {p99(self.writes_s) * 1000:.0f} ms; statuses {dict(self.statuses)}"
        )


def p99(values: list[float]) -> float:
    """Return what 99 of 100 values do not exceed."""
    return sorted(values)[len(values) * 99 // 100]


def mixed_load(service: Service, *, clients: int, seconds: float) -> Load:
    """Let clients work side by side, each registering or removing a workflow of its own once in ten requests."""
    load = Load()
    asyncio.run(_crowd(service.management, clients, seconds, load))
    return load


async def _crowd(address: str, clients: int, seconds: float, load: Load) -> None:
    connector = aiohttp.TCPConnector(limit=clients)
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(address, connector=connector, timeout=timeout) as session:
        until = time.monotonic() + seconds
        await asyncio.gather(*(_client(session, f"c{number:03}", until, load) for number in range(clients)))


async def _client(session: aiohttp.ClientSession, name: str, until: float, load: Load) -> None:
    chance = random.Random(name)
    is_registered = False
    await asyncio.sleep(chance.uniform(0, THINK_S))
    while time.monotonic() < until:
        if chance.random() < 0.1:
            allowed = {200}
            method, path = ("DELETE", f"/workflows/{name}") if is_registered else ("POST", "/workflows")
            parameters = {} if is_registered else {"url": "idle.war", "workflow_name": name}
            is_registered = not is_registered
        else:
            path = chance.choice(["/workflows", "/ping", f"/workflows/{name}", "/workflows?after=c2&limit=10"])
            allowed = {200, 404} if path.endswith(name) else {200}
            method, parameters = "GET", {}
        began = time.monotonic()
        async with session.request(method, path, params=parameters) as answer:
            text = await answer.text()
        (load.reads_s if method == "GET" else load.writes_s).append(time.monotonic() - began)
        load.statuses[answer.status] += 1
        if answer.status not in allowed:
            load.surprises.append(f"{method} {path}: {answer.status} {text}")
        await asyncio.sleep(min(chance.uniform(0, 2 * THINK_S), max(until - time.monotonic(), 0)))


def walk_while_others_write(
    service: Service, *, stable: set[str], writers: int, seconds: float, least: int = 1
) -> Counter[str]:
    """Walk through the list in both ways while writers add and remove names between the stable ones.

    It goes on until the time is over and each way was walked `least` times, for a minute longer at most.

    Returns:
        How often each way was walked to its end.

    Raises:
        AssertionError: A page failed, a walk by name missed a stable name or repeated one, or there were too few.
    """
    walks: Counter[str] = Counter()
    until = time.monotonic() + seconds

    def is_over() -> bool:
        late_s = time.monotonic() - until
        return late_s > 60 or (late_s >= 0 and min(walks["by name"], walks["by offset"]) >= least)

    with ThreadPoolExecutor(writers + 3) as pool:
        work = [pool.submit(_write, service, number, is_over) for number in range(writers)]
        work += [
            pool.submit(_repeat, is_over, walks, "by name", lambda: _walk_by_name(service, stable)) for _ in range(2)
        ]
        work.append(pool.submit(_repeat, is_over, walks, "by offset", lambda: _walk_by_offset(service)))
        for each in work:
            each.result(seconds + 90)
    assert min(walks["by name"], walks["by offset"]) >= least, walks
    return walks


def _repeat(is_over: Callable[[], bool], walks: Counter[str], way: str, walk: Callable[[], None]) -> None:
    while not is_over():
        walk()
        walks[way] += 1


def _write(service: Service, number: int, is_over: Callable[[], bool]) -> None:
    chance = random.Random(number)
    registered: set[str] = set()
    while not is_over():
        name = f"n{chance.randrange(1000):03}-{number}"
        if name in registered:
            registered.remove(name)
            answer = service.unregister(name)
        else:
            registered.add(name)
            answer = service.register("idle.war", workflow_name=name)
        assert answer.status_code == 200, answer.text
    for name in registered:
        assert service.unregister(name).status_code == 200


def _pages(service: Service, key: str, next_key: str, first: str) -> Iterator[list[str]]:
    with requests.Session() as session:
        value: str | None = first
        while value is not None:
            parameters: dict[str, str | int] = {"limit": 7, key: value}
            answer = session.get(f"{service.management}/workflows", params=parameters, timeout=10)
            assert answer.status_code == 200, answer.text
            page = answer.json()
            yield [each["workflowName"] for each in page["workflows"]]
            value = page.get(next_key)


def _walk_by_name(service: Service, stable: set[str]) -> None:
    names = [name for page in _pages(service, "after", "nextAfter", "") for name in page]
    assert names == sorted(set(names)), "a name came twice, or out of order"
    assert stable - set(names) == set(), "a name that was there throughout was missed"


def _walk_by_offset(service: Service) -> None:
    for page in _pages(service, "next_page_token", "nextPageToken", "0"):
        assert page == sorted(page)
