"""Reloads and restarts while 64 clients work: they wait, and none of their requests fails."""

import asyncio
import contextlib
import random
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Self

import aiohttp
import pytest

from tests.support.passed_sockets import pass_sockets
from tests.support.processes import reload
from tests.support.service import Service, wait_until

CLIENTS = 64
#: A client pauses for up to so long between its requests.
THINK_S = 0.3
PATIENCE_S = 60.0


class Clients:
    """Half of them predict, half list and describe, each over a connection that it keeps as long as it may.

    Attributes:
        answered: How many requests got 200, by path.
        failed: What went wrong.
    """

    def __init__(self, service: Service) -> None:
        self.answered: Counter[str] = Counter()
        self.failed: list[str] = []
        self._service = service
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._work()))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join(2 * PATIENCE_S)

    def wait_for_more(self) -> None:
        """Return when every kind of request was answered many times again."""
        before = self.answered.copy()
        wait_until(
            lambda: self.failed or all(self.answered[path] > before[path] + CLIENTS for path in self._paths()),
            timeout_s=PATIENCE_S,
            what=lambda: f"answers, beyond {before}: {self.answered}",
        )

    def _paths(self) -> list[str]:
        return ["/wfpredict/seq", "/workflows", "/workflows/seq"]

    async def _work(self) -> None:
        await asyncio.gather(*(self._client(number) for number in range(CLIENTS)))

    async def _client(self, number: int) -> None:
        chance = random.Random(number)
        predicts = number % 2 == 0
        address = self._service.inference if predicts else self._service.management
        timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
        async with aiohttp.ClientSession(address, timeout=timeout) as session:
            while not self._is_over.is_set():
                path = self._paths()[0 if predicts else chance.choice((1, 2))]
                try:
                    async with session.request("POST" if predicts else "GET", path) as answer:
                        text = await answer.text()
                except (aiohttp.ClientError, TimeoutError) as error:
                    self.failed.append(f"{path}: {error!r}")
                else:
                    self.answered[path] += answer.status == 200
                    if answer.status != 200:
                        self.failed.append(f"{path}: {answer.status} {text}")
                await asyncio.sleep(chance.uniform(0, THINK_S))


@pytest.fixture(name="service")
def _service(prepared: Service) -> Service:
    return prepared


#: How often a service is disturbed.
TIMES = pytest.mark.parametrize("times", [1, pytest.param(2, marks=pytest.mark.slow)])


@TIMES
def test_reloads_fail_no_request(service: Service, times: int) -> None:
    """SIGHUP replaces the web workers."""
    service.start()
    assert service.register("seq.war").status_code == 200
    with Clients(service) as clients:
        clients.wait_for_more()
        for _ in range(times):
            reload(service, timeout_s=PATIENCE_S)
            clients.wait_for_more()
    assert clients.failed == []


def test_service_listens_on_the_sockets_that_it_is_given(service: Service) -> None:
    """Each plane on its own, here by name; the next test has them in order."""
    with held_sockets(service, "inference:management") as (first, second):
        service.start()
        assert service.management.endswith(f":{second.getsockname()[1]}")
        assert service.inference.endswith(f":{first.getsockname()[1]}")
        assert service.register("seq.war").status_code == 200
        assert service.stop() == 0
        service.wait_until_gone()


@TIMES
def test_restarts_fail_no_request_when_others_hold_the_sockets(service: Service, times: int) -> None:
    """The service is stopped and started as `systemctl restart` does; clients wait in the sockets' queues."""
    with held_sockets(service, "wfmgmt.socket:wfmgmt.socket") as (first, second):
        service.start()
        assert service.management.endswith(f":{first.getsockname()[1]}")
        assert service.inference.endswith(f":{second.getsockname()[1]}")
        assert service.register("seq.war").status_code == 200
        with Clients(service) as clients:
            for _ in range(times):
                clients.wait_for_more()
                assert service.stop() == 0
                service.start()
            clients.wait_for_more()
        assert clients.failed == []
        assert service.stop() == 0


@contextlib.contextmanager
def held_sockets(service: Service, names: str) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Hold two listening sockets, and have the service started with them."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=1024) as first,
        socket.create_server(("127.0.0.1", 0), backlog=1024) as second,
    ):
        pass_sockets(service, first, second, names=names)
        yield first, second
