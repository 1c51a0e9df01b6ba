"""Campaigns that the short tests and `make chaos` share: clients at work, kills in between, and a search for losses."""

import contextlib
import functools
import json
import os
import random
import signal
import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import requests
from urllib3.exceptions import NewConnectionError

from tests.support.evidence import rows
from tests.support.factories import make_mar, make_war
from tests.support.kept import kept_digests, kept_parts
from tests.support.processes import runtime_pid, web_workers
from tests.support.service import Service, pids_of, stored_files, wait_until
from wfmgmt.registry.registry import Registry

#: What a registration may ask for: archive to the statuses that it can end with while nothing is being killed.
BAD_SOURCES = {"nosuch.war": {404}, "broken.war": {500}, "cyclic.war": {400}}
#: What may be answered while parts of the service die; 409 for a name whose last change is being undone.
WHILE_PARTS_DIE = frozenset({409, 503})
#: What has to be kept.
_DIGESTS = """
SELECT archive_sha256 FROM workflow_version UNION SELECT model_sha256 FROM node WHERE model_sha256 IS NOT NULL
"""
#: Worker processes of each workflow that the campaigns register: one model and two functions.
PROCESSES_EACH = 3


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came of one request; the status is None when the connection broke before there was an answer."""

    request_id: str
    method: str
    name: str
    status: int | None


@dataclass(kw_only=True)
class Ledger:
    """What the clients know for sure.

    Attributes:
        known: Name to whether it is registered; None after a request that was not answered.
        answers: To every request that was sent.
        surprises: Answers that contradict what was known.
    """

    known: dict[str, bool | None]
    answers: list[Answer] = field(default_factory=list)
    surprises: list[str] = field(default_factory=list)

    def note(self, answer: Answer, *, registers: bool, allowed: set[int]) -> None:
        """Take in what came of one request."""
        self.answers.append(answer)
        if answer.status is not None and answer.status not in allowed:
            self.surprises.append(f"{answer}, allowed {sorted(allowed)}, known: {self.known[answer.name]}")
        if answer.status == 200:
            self.known[answer.name] = registers
        elif answer.status == 404 and not registers:
            self.known[answer.name] = False
        elif answer.status is None or not registers:
            self.known[answer.name] = None


class ClientThreads:
    """Clients at work, each in a thread.

    Attributes:
        is_over: Set when they are to stop.
    """

    def __init__(self) -> None:
        self.is_over = threading.Event()
        self._threads: list[threading.Thread] = []

    def begin(self, clients: Iterable[Callable[[], None]]) -> None:
        """Let the clients work."""
        self.is_over.clear()
        self._threads = [threading.Thread(target=client) for client in clients]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Let every client finish the request that it waits for."""
        self.is_over.set()
        for thread in self._threads:
            thread.join(150)  # Longer than two requests may take, one after the other.
            assert not thread.is_alive()


class Campaign:
    """Clients that register and delete through a service, and what has to hold after something of it was killed.

    Args:
        service: The service, not started yet.
        downloads: Folder and address of archives that are downloaded.
        clients: Threads; each has names of its own, so that it can predict each answer.
        seed: Of all that is random.
        tolerated: Statuses that may come instead of any other, because parts of the service die meanwhile.
    """

    def __init__(
        self,
        service: Service,
        downloads: tuple[Path, str],
        *,
        clients: int = 4,
        seed: int = 1,
        tolerated: frozenset[int] = frozenset(),
    ) -> None:
        self.service = service
        self.random = random.Random(seed)
        self._tolerated = tolerated
        self._names = [[f"c{client}-{number}" for number in range(3)] for client in range(clients)]
        self.ledger = Ledger(known={name: False for names in self._names for name in names})
        self._seen = 0
        self._clients = ClientThreads()
        folder, address = downloads
        self._sources = ["seq.war", f"{address}/remote.war"]
        make_war(service.workflow_store)
        make_mar(service.model_store)
        make_war(service.workflow_store, name="broken", spec="models: {b: {url: broken.mar}}\ndag: {b: []}\n")
        make_mar(service.model_store, name="broken", source="raise ValueError('broken on purpose')\n")
        make_war(service.workflow_store, name="cyclic", spec="dag:\n  a: [b]\n  b: [c]\n  c: [b]\n")
        remote = f"models: {{r: {{url: '{address}/far.mar'}}}}\ndag: {{pre_processing: [r], r: [post_processing]}}\n"
        make_war(folder, name="remote", spec=remote)
        make_mar(folder, name="far")
        self._own_files = {path.name for path in (*service.workflow_store.iterdir(), *service.model_store.iterdir())}

    def begin(self) -> None:
        """Let the clients work."""
        self._clients.begin(
            functools.partial(self._work, names, random.Random(self.random.random())) for names in self._names
        )

    def end(self) -> None:
        """Let every client finish the request that it waits for."""
        self._clients.end()

    def _work(self, names: list[str], chance: random.Random) -> None:
        while not self._clients.is_over.is_set():
            name = chance.choice(names)
            known = self.ledger.known[name]
            if known or (known is None and chance.random() < 0.5):
                self._send("DELETE", name, {200} if known else {200, 404})
            elif known is False and chance.random() < 0.2:
                source = chance.choice(list(BAD_SOURCES))
                self._send("POST", name, BAD_SOURCES[source], url=source)
            else:
                allowed = {200, 409} if known is None else {200}
                self._send("POST", name, allowed, url=chance.choice(self._sources))

    def _send(self, method: str, name: str, allowed: set[int], url: str = "") -> None:
        request_id = uuid.uuid4().hex
        base = f"{self.service.management}/workflows"
        address = base if method == "POST" else f"{base}/{name}"
        parameters = {"url": url, "workflow_name": name} if method == "POST" else {}
        try:
            answer = requests.request(
                method, address, params=parameters, headers={"x-request-id": request_id}, timeout=60
            )
            status = answer.status_code
            assert status < 400 or answer.json()["code"] == status, answer.text
        except requests.ConnectionError as error:
            if isinstance(getattr(error.args[0], "reason", None), NewConnectionError):
                self._clients.is_over.wait(0.02)
                return  # Nobody listened, so it was never sent.
            status = None
        note = Answer(request_id=request_id, method=method, name=name, status=status)
        self.ledger.note(note, registers=method == "POST", allowed=allowed | self._tolerated)

    def check(self, *, is_fresh: bool) -> None:
        """Look for losses, for anything half there and for gaps in the audit trail.

        Args:
            is_fresh: Whether the service was just started, so that it has looked for stray files.
        """
        service, ledger = self.service, self.ledger
        assert ledger.surprises == []
        wait_until(
            lambda: not rows(service, "SELECT uid FROM workflow_version WHERE status <> 'ready'"), what="recovery"
        )
        listed = set(service.names())
        lost = [name for name, known in ledger.known.items() if known and name not in listed]
        undead = [name for name, known in ledger.known.items() if known is False and name in listed]
        assert (lost, undead) == ([], [])
        ledger.known.update({name: name in listed for name in ledger.known})
        for name in sorted(listed):
            wait_until(functools.partial(self._is_loaded, name), what=f"the models of {name}")
        wanted = PROCESSES_EACH * len(listed)
        used = {digest for (digest,) in rows(service, _DIGESTS)}
        assert used <= kept_digests(service.archives)
        wait_until(lambda: len(self._folders("working")) == wanted, what=f"{wanted} working folders")
        # The forkserver, which the first load starts, is one of them.
        wait_until(lambda: max(len(service.worker_pids()) - 1, 0) == wanted, what=f"{wanted} workers")
        if is_fresh:
            wait_until(lambda: not self._strays(), what=lambda: f"the end of the stray files {self._strays()}")
        self._check_audit(listed)

    def has_answered(self, count: int) -> bool:
        """Return whether more requests than this were answered."""
        return len(self.ledger.answers) > count

    def _is_loaded(self, name: str) -> bool:
        nodes = self.service.describe(name)["nodes"]
        return len(nodes) == 3 and all(node["readyWorkers"] == node["minWorkers"] for node in nodes)

    def _folders(self, name: str) -> list[Path]:
        return list((self.service.run_folder / name).iterdir())

    def _strays(self) -> set[str]:
        """Return files in the stores that no row names, leases that no process holds, and parts of archives."""
        service = self.service
        used = rows(service, "SELECT archive_file FROM workflow_version UNION SELECT model_file FROM node")
        known = self._own_files | {str(file) for (file,) in used}
        folders = (service.workflow_store, service.model_store, service.run_folder / "leases")
        return {path.name for folder in folders for path in stored_files(folder)} - known | kept_parts(service.archives)

    def _check_audit(self, listed: set[str]) -> None:
        """Compare every answer with its audit row, and the registry with what the audit trail says of it."""
        found = defaultdict(list)
        registered: set[object] = set()
        recovered: set[str] = set()
        for request_id, action, name, outcome, detail in rows(
            self.service, "SELECT request_id, action, workflow, outcome, detail FROM audit_event ORDER BY id"
        ):
            found[request_id].append((action, outcome))
            details = json.loads(str(detail))
            self._replay(registered, str(action), str(name), str(outcome), details)
            if details.get("found") == "unregistering":
                recovered.add(str(name))
        assert registered == listed
        for answer in self.ledger.answers[self._seen :]:
            self._check_rows(answer, found[answer.request_id], was_recovered=answer.name in recovered)
        self._seen = len(self.ledger.answers)
        registry = Registry(f"sqlite:///{self.service.database}")
        try:
            assert registry.verify_audit().broken_at is None
        finally:
            registry.close()

    @staticmethod
    def _replay(registered: set[object], action: str, name: str, outcome: str, detail: dict[str, str]) -> None:
        """Follow one audit event; it has to fit what the events before it say."""
        if action == "register" and outcome == "succeeded":
            assert name not in registered
            registered.add(name)
        elif action == "unregister" or (action == "reconcile" and detail["found"] == "unregistering"):
            assert name in registered
            registered.remove(name)
        elif action == "reconcile":
            assert name not in registered

    @staticmethod
    def _check_rows(answer: Answer, found: list[tuple[object, object]], *, was_recovered: bool) -> None:
        action = "register" if answer.method == "POST" else "unregister"
        if action == "unregister" and answer.status == 200 and not found:
            assert was_recovered, answer  # Housekeeping finished what an earlier request began, and recorded that.
        elif answer.status == 200:
            assert found == [(action, "succeeded")], answer
        elif answer.status is None or answer.status == 503:
            assert len(found) <= 1, answer  # What it left was reconciled, which the replay has followed.
        elif answer.method == "POST":
            assert found == [(action, "failed")], answer
        else:
            assert found == [], answer

    def figures(self) -> str:
        """Return a line with what was sent and how it was answered."""
        counts = Counter((each.method, each.status) for each in self.ledger.answers)
        shown = ", ".join(
            f"{method} {status or 'broken off'}: {n}" for (method, status), n in sorted(counts.items(), key=str)
        )
        reconciled = rows(self.service, "SELECT count(*) FROM audit_event WHERE action = 'reconcile'")[0][0]
        return f"{len(self.ledger.answers)} requests ({shown}), {reconciled} reconciled"


def kill_group(service: Service) -> None:
    """Kill the process group: master, web workers and runtime; forkserver and workers have to go by themselves."""
    service.kill()


def kill_everything(service: Service) -> None:
    """Kill every process of the deployment, one after the other."""
    for pid in pids_of(service.instance):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    service.kill()


def kill_master(service: Service) -> None:
    """Kill the gunicorn master alone; everything else has to go by itself."""
    assert service.process is not None
    service.process.kill()
    service.process.wait(10)
    service.process = None


KILLS: tuple[Callable[[Service], None], ...] = (kill_group, kill_everything, kill_master)


class Killable(Protocol):
    """Clients of a service that may be killed at any moment.

    Attributes:
        random: What is random.
    """

    random: random.Random

    @property
    def service(self) -> Service:
        """The service."""

    def begin(self) -> None:
        """Let the clients work."""

    def end(self) -> None:
        """Let every client finish the request that it waits for."""

    def check(self, *, is_fresh: bool) -> None:
        """Look for losses, after a start if it is fresh."""


def kill_again_and_again(campaign: Killable, rounds: int, kills: tuple[Callable[[Service], None], ...] = KILLS) -> None:
    """Kill a working service again and again, and check it after every new start."""
    service = campaign.service
    for number in range(rounds):
        service.start()
        campaign.check(is_fresh=True)
        campaign.begin()
        try:
            time.sleep(campaign.random.uniform(0.0, 1.0))  # The moment is what is random here.
            kills[number % len(kills)](service)
        finally:
            campaign.end()
        wait_until(lambda: not pids_of(service.instance), what="the end of all processes")
    service.start()
    campaign.check(is_fresh=True)


def run_kills(campaign: Campaign, rounds: int, kills: tuple[Callable[[Service], None], ...] = KILLS) -> None:
    """Kill a service that registers and deletes again and again; in the end every name is usable."""
    kill_again_and_again(campaign, rounds, kills)
    turn_over_all(campaign)


def turn_over_all(campaign: Campaign) -> None:
    """Show that every name is usable: what is registered can be deleted, and what is not can be registered."""
    service = campaign.service
    for name, known in sorted(campaign.ledger.known.items()):
        answer = service.unregister(name) if known else service.register("seq.war", workflow_name=name)
        assert answer.status_code == 200, answer.text


def kill_parts(campaign: Campaign, rounds: int) -> None:
    """Kill web workers and the runtime in turn while clients work."""
    service = campaign.service
    for number in range(rounds):
        campaign.begin()
        try:
            done = len(campaign.ledger.answers)
            wait_until(functools.partial(campaign.has_answered, done + 10), what="work")
            victim = campaign.random.choice(web_workers(service)) if number % 2 else runtime_pid(service)
            os.kill(victim, signal.SIGKILL)
            wait_until(functools.partial(campaign.has_answered, done + 20), what="more work")
        finally:
            campaign.end()
        campaign.check(is_fresh=False)
