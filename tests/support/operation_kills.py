"""Operations that are accepted while their service is killed, and a search for what was lost or left half there."""

import contextlib
import os
import random
import signal
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

import requests
from urllib3.exceptions import NewConnectionError

from tests.support.campaigns import KILLS, ClientThreads
from tests.support.changing import NAME as BASE
from tests.support.changing import make_version
from tests.support.evidence import query, rows
from tests.support.factories import MODEL_HANDLER, make_mar, make_war
from tests.support.kept import kept_parts
from tests.support.processes import runtime_pids, web_workers
from tests.support.records import make_database
from tests.support.service import Service, pids_of, stored_files, wait_until
from tests.support.web_files import served_archives
from wfmgmt.registry.registry import Registry
from wfmgmt.services.operation_records import MAX_ATTEMPTS
from wfmgmt.services.registration_queue import HOLDER_PREFIX

CLIENTS, EACH = 2, 3
#: Beside other load a killed service needs longer for everything; what is lost never comes.
PATIENCE_S = 120
#: Versions that are always there.
STAYING = ("1.0", "2.0")
#: What a change may be answered that is no operation: it holds already or is made at once, or another one is under way.
CHANGED_AT_ONCE = (200, 409, 503)
#: How a registration says in the end that a worker of it was killed, or the forkserver.
LOST_WORKERS = ("worker was killed by SIGKILL while loading", "worker was lost with the forkserver while loading")
#: Parts of a form, by what they are, with the name of the file.
Form = list[tuple[str, tuple[str, bytes]]]
BROKEN = "raise ValueError('broken on purpose')\n"
ONE_NODE = "models: {{{name}: {{url: '{url}'}}}}\ndag: {{pre_processing: [{name}], {name}: [post_processing]}}\n"


class Part(StrEnum):
    """What is killed: all of the service, its master first or alone, or one process of it."""

    SERVICE = "service"
    WEB_WORKER = "web worker"
    RUNTIME = "runtime"
    #: Of a model or a function, or the forkserver, which is one of many.
    WORKER = "worker"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of request.

    Attributes:
        action: What the audit trail calls it.
        url: What is registered, if that is somewhere already.
        files: What is registered, if it comes along: the archive, then those of models.
        code: Of the error that it ends with; None when it succeeds.
        is_further: Whether it is of a further version.
        is_held: Whether one process alone can carry it out, which has the secret of its address, or what came along.
    """

    action: str = "register"
    url: str = ""
    files: Sequence[Path] = ()
    code: int | None = None
    is_further: bool = False
    is_held: bool = False

    @property
    def is_registration(self) -> bool:
        """Whether something is registered."""
        return bool(self.url or self.files)

    def form(self) -> Form | None:
        """Return the parts of the body; None when nothing comes along."""
        names = ("archive", *["model"] * len(self.files))
        return [(name, (file.name, file.read_bytes())) for name, file in zip(names, self.files, strict=False)] or None


@dataclass(kw_only=True)
class Sent:
    """One request that was sent.

    Attributes:
        kind: Its kind.
        name: Of the workflow.
        version: The version that it registers; empty if it is a change.
        request_id: Of the request.
        kills_before: How much had been killed when it was sent.
        path: Of its operation; None when the connection broke before there was an answer.
        cancel: Status of the answer to its cancellation; None when there was none.
        state: How it ended; `unchanged` if another release had made the same; empty if it was never accepted.
    """

    kind: Kind
    name: str
    version: str
    request_id: str
    kills_before: int
    path: str | None = None
    cancel: int | None = None
    state: str = ""


@dataclass(kw_only=True)
class OperationCampaign:
    """Clients that have workflows registered later, and what has to hold of what was accepted.

    Attributes:
        service: The service, not started yet.
        chance: What is random.
        kinds: What is registered.
        own_files: Files in the stores that were there before.
        sent: Every registration that was sent.
        surprises: Answers that no request should have got.
        killed: What was killed.
    """

    service: Service
    chance: random.Random
    kinds: list[Kind]
    own_files: set[str]
    sent: list[Sent] = field(default_factory=list)
    surprises: list[str] = field(default_factory=list)
    killed: list[Part] = field(default_factory=list)
    _counts: Counter[str] = field(default_factory=Counter)
    _staying = frozenset(f"{BASE}/{version}" for version in STAYING)
    _clients: ClientThreads = field(default_factory=ClientThreads)

    def begin(self) -> None:
        """Let the clients work."""
        chances = [random.Random(self.chance.random()) for _ in range(CLIENTS)]
        self._clients.begin(partial(self._work, chance) for chance in chances)

    def end(self) -> None:
        """Let every client finish the request that it waits for."""
        self._clients.end()

    def _work(self, chance: random.Random) -> None:
        for _ in range(EACH):
            sent = self._make(chance.choice(self.kinds))
            method, path, parameters = self._request(sent, chance)
            answer = self._send(method, path, sent.request_id, parameters, sent.kind.form())
            if answer is not None and answer.status_code == 202:
                sent.path = answer.json()["operation"]
            elif answer is not None and (sent.kind.is_registration or answer.status_code not in CHANGED_AT_ONCE):
                self.surprises.append(f"{method} {path} {parameters}: {answer.text}")
            if sent.path is not None and chance.random() < 0.3:
                self._clients.is_over.wait(chance.uniform(0.0, 0.5))
                answer = self._send("POST", f"{sent.path}/cancel", uuid.uuid4().hex, {})
                sent.cancel = None if answer is None else answer.status_code
                if sent.cancel not in (None, 202, 409):
                    self.surprises.append(f"cancel {sent}: {answer and answer.text}")
            if self._clients.is_over.wait(chance.uniform(0.0, 0.2)):
                return

    def _make(self, kind: Kind) -> Sent:
        unique = uuid.uuid4().hex
        name, version = f"w{unique[:8]}", "1.0"
        if kind.is_further or not kind.is_registration:
            name, version = BASE, unique[:8] if kind.is_further else ""
        sent = Sent(kind=kind, name=name, version=version, request_id=unique, kills_before=len(self.killed))
        self.sent.append(sent)
        return sent

    def _request(self, sent: Sent, chance: random.Random) -> tuple[str, str, dict[str, str]]:
        if sent.kind.action == "scale":
            workers = str(chance.randrange(1, 4))
            return "PUT", f"/workflows/{BASE}", {"min_worker": workers, "max_worker": workers}
        parameters = {"synchronous": "false"}
        if sent.kind.action == "set-default":
            return "PUT", f"/workflows/{BASE}/{chance.choice(STAYING)}/set-default", parameters
        parameters |= {"workflow_name": sent.name, "version": sent.version}
        if sent.kind.url:
            parameters["url"] = sent.kind.url
        if sent.kind.is_further and chance.random() < 0.5:
            parameters["set_default"] = "true"
        return "POST", "/workflows", parameters

    def _send(
        self, method: str, path: str, request_id: str, parameters: dict[str, str], form: Form | None = None
    ) -> requests.Response | None:
        """Send a request; None when the connection broke, so that nothing is known of what came of it."""
        url, headers = f"{self.service.management}{path}", {"x-request-id": request_id}
        try:
            return requests.request(method, url, params=parameters, files=form, headers=headers, timeout=60)
        except requests.ConnectionError as error:
            if isinstance(getattr(error.args[0], "reason", None), NewConnectionError):
                self._clients.is_over.wait(0.02)  # Nothing listens now.
            return None

    def check(self, *, is_fresh: bool) -> None:
        """Wait until everything that was accepted has ended, and look for losses and for anything left.

        Args:
            is_fresh: Whether the service was just started, so that it has looked for stray files.
        """
        assert not self.surprises, self.surprises
        for each in self.sent:
            self._check_end(each)
        self._check_audit()
        self._counts.update(f"{each.kind.action} {each.state or 'not accepted'}" for each in self.sent)
        self._check_rows()
        for name, version in self._ready():
            wait_until(
                partial(self._predicts, name, version), timeout_s=PATIENCE_S, what=f"the answer of {name}/{version}"
            )
        self._check_left(is_fresh=is_fresh)

    def _check_end(self, sent: Sent) -> None:
        """Check that an operation has ended as it may, if it was accepted; without an answer, it may have been."""
        path = sent.path or self._found(sent)
        if path is None:
            return
        operation = wait_until(partial(self._done, path), timeout_s=PATIENCE_S, what=f"the end of {sent}")
        sent.state, error = operation["state"], operation["error"]
        assert (sent.state == "failed") == (error is not None), operation
        assert sent.state == "succeeded" or operation["result"] is None, operation
        if sent.state == "succeeded":
            assert (sent.kind.code, sent.cancel != 202) == (None, True), (sent, operation)
            if sent.kind.action == "set-default" and not operation["result"]["changed"]:
                sent.state = "unchanged"
        elif sent.state == "cancelled":
            assert operation["cancelledBy"] == "anonymous", (sent, operation)
        else:
            assert error["message"], operation
            assert error["code"] == sent.kind.code or self._may_have_failed(sent, error), (sent, operation)

    def _may_have_failed(self, sent: Sent, error: dict[str, Any]) -> bool:
        """Return whether kills may be why an operation failed, which begins again after the first one if it can."""
        killed = self.killed[sent.kills_before :]
        if Part.WORKER in killed and any(how in error["message"] for how in LOST_WORKERS):
            return True
        if sent.kind.action == "scale":  # It only waits, and not for ever; the workers come all the same.
            return bool(error["code"] == 503)
        attempts = 1 if sent.kind.is_held else MAX_ATTEMPTS
        return error["code"] == 503 and len(killed) - killed.count(Part.WORKER) >= attempts

    def _found(self, sent: Sent) -> str | None:
        found = rows(self.service, "SELECT id FROM v_operation WHERE request_id = ?", sent.request_id)
        return f"/operations/{found[0][0]}" if found else None

    def _done(self, path: str) -> dict[str, Any] | None:
        with contextlib.suppress(requests.ConnectionError):  # The web worker that listens may be the killed one.
            answer = requests.get(f"{self.service.management}{path}", timeout=30)
            assert answer.status_code == 200, answer.text
            operation: dict[str, Any] = answer.json()
            return operation if operation["done"] else None
        return None

    def _check_audit(self) -> None:
        """Compare each end with its event, of which each operation has one; that of new worker counts says no more.

        What was cancelled before it began has none; one that was undone after its last attempt has that of the undoing.
        """
        statement = "SELECT outcome FROM audit_event WHERE request_id = ? AND action LIKE ? || '%'"
        undone = {name for (name,) in rows(self.service, "SELECT workflow FROM audit_event WHERE action = 'reconcile'")}
        for each in self.sent:
            found = [outcome for (outcome,) in rows(self.service, statement, each.request_id, each.kind.action)]
            if not each.kind.is_registration and each.state in ("", "unchanged"):  # At once if at all, or to no effect.
                assert len(found) <= (0 if each.state else 1), (each, found)
                continue
            is_at_once = each.kind.action == "scale"
            may_be_missing = each.state in ("", "cancelled") or (each.state == "failed" and each.name in undone)
            assert found or may_be_missing or is_at_once, each
            expected = "succeeded" if is_at_once or each.state == "succeeded" else "failed"
            assert found in ([], [expected]), (each, found)
        registry = Registry(f"sqlite:///{self.service.database}")
        try:
            assert registry.verify_audit().broken_at is None
        finally:
            registry.close()

    def _ready(self) -> list[tuple[str, str]]:
        statement = "SELECT workflow, version FROM v_version WHERE status = 'ready' ORDER BY workflow, version"
        return rows(self.service, statement)

    def _check_rows(self) -> None:
        """Compare what is registered with what succeeded; nothing is unfinished."""
        service = self.service
        wait_until(
            lambda: not rows(service, "SELECT 1 FROM workflow_version WHERE status <> 'ready'"),
            timeout_s=PATIENCE_S,
            what="recovery",
        )
        unfinished = "SELECT * FROM operation WHERE ended_at IS NULL OR lease IS NOT NULL OR key IS NOT NULL"
        assert query(service, unfinished) == []
        succeeded = {
            f"{each.name}/{each.version}"
            for each in self.sent
            if each.kind.is_registration and each.state == "succeeded"
        }
        assert {f"{name}/{version}" for name, version in self._ready()} == succeeded | self._staying

    def _predicts(self, name: str, version: str) -> bool:
        try:
            answer = requests.post(f"{self.service.inference}/wfpredict/{name}/{version}", data=b"x", timeout=20)
        except (requests.ConnectionError, requests.Timeout):  # The runtime may be the killed one, or only start.
            return False
        return answer.status_code == 200

    def _check_left(self, *, is_fresh: bool) -> None:
        service = self.service
        wait_until(self._has_workers, timeout_s=PATIENCE_S, what=lambda: f"{self._wanted()} workers")
        working = service.run_folder / "working"
        wait_until(
            lambda: len(list(working.iterdir())) == self._wanted(), timeout_s=PATIENCE_S, what="as many working folders"
        )
        if is_fresh:
            wait_until(
                lambda: not self._strays(),
                timeout_s=PATIENCE_S,
                what=lambda: f"the end of the stray files {self._strays()}",
            )

    def _has_workers(self) -> bool:
        # The forkserver, which the first load starts, is one of them.
        return len(self.service.worker_pids()) - 1 == self._wanted()

    def _wanted(self) -> int:
        """Return the workers of all versions that have a share; others are parked a moment after their last request."""
        count = 0
        for name in self.service.names():
            described = requests.get(f"{self.service.management}/workflows/{name}/all", timeout=30).json()
            for each in described:
                if each["version"] in {route["version"] for route in each["routes"]}:
                    count += sum(node["minWorkers"] for node in each["nodes"])
        return count

    def _strays(self) -> set[str]:
        """Return files in the stores that no row names, leases of no process, and parts of archives."""
        service = self.service
        used = rows(service, "SELECT archive_file FROM workflow_version UNION SELECT model_file FROM node")
        known = self.own_files | {str(file) for (file,) in used}
        stored = {path.name for store in (service.workflow_store, service.model_store) for path in stored_files(store)}
        leases = {path.name for path in stored_files(service.run_folder / "leases")}
        held = {name for name in leases if name.startswith(HOLDER_PREFIX)}
        return stored - known | leases - held | kept_parts(service.archives)

    def forget(self) -> None:
        """Unregister what was registered, but for the versions that are always there."""
        url = f"{self.service.management}/workflows/{BASE}/{STAYING[0]}/set-default"
        answer = requests.put(url, timeout=60)
        assert answer.status_code == 200, answer.text
        for name, version in self._ready():
            if f"{name}/{version}" not in self._staying:
                assert self.service.unregister(f"{name}/{version}").status_code == 200
        self.sent.clear()

    def figures(self) -> str:
        """Return a line with what was killed, and how what was accepted ended."""
        killed, ends = (
            ", ".join(f"{name}: {count}" for name, count in sorted(counts.items()))
            for counts in (Counter(self.killed), self._counts)
        )
        return f"{len(self.killed)} kills ({killed}), {self._counts.total()} requests ({ends})"


#: What is killed, and how often in relation to the others.
PARTS = {Part.SERVICE: 4, Part.WEB_WORKER: 3, Part.RUNTIME: 1, Part.WORKER: 2}


def _kill_part(service: Service, part: Part, chance: random.Random) -> None:
    """Kill one process, or nothing if there is none at the moment."""
    pids = {Part.WEB_WORKER: web_workers, Part.RUNTIME: runtime_pids, Part.WORKER: Service.worker_pids}[part](service)
    with contextlib.suppress(ProcessLookupError, IndexError):
        os.kill(chance.choice(pids), signal.SIGKILL)


def _kill_service(service: Service, chance: random.Random) -> None:
    chance.choice(KILLS)(service)
    wait_until(lambda: not pids_of(service.instance), what="the end of all processes")
    service.start()


def kill_and_check(campaign: OperationCampaign, kills: int) -> None:
    """Kill the service or a part of it so often, mostly once and sometimes twice before what was accepted may end."""
    service, chance = campaign.service, campaign.chance
    while len(campaign.killed) < kills:
        campaign.begin()
        parts = chance.choices(list(PARTS), list(PARTS.values()), k=chance.choice((1, 1, 2)))
        try:
            for part in parts:
                time.sleep(chance.uniform(0.0, 1.0))  # The moment is what is random here.
                if part is Part.SERVICE:
                    _kill_service(service, chance)
                else:
                    _kill_part(service, part, chance)
                campaign.killed.append(part)  # Now, since what is sent until then may be hit.
        finally:
            campaign.end()
        campaign.check(is_fresh=parts[-1] is Part.SERVICE)
        campaign.forget()


@contextmanager
def operation_campaign(folder: Path, seed: int = 1) -> Iterator[OperationCampaign]:
    """Give a campaign over a running service of its own, with a workflow that is always there."""
    service = Service(folder / "instance", web_workers=2, operations=2, standby_s=0, allowed_urls="http://127.0.0.1:.*")
    make_database(service.database)
    late = "import time\n\ntime.sleep(0.3)  # As models that import their libraries.\n\n\n" + MODEL_HANDLER
    make_mar(service.model_store)
    make_mar(service.model_store, name="late", source=late)
    make_mar(service.model_store, name="broken", source=BROKEN)
    make_war(service.workflow_store)
    for name in ("late", "broken"):
        make_war(service.workflow_store, name=name, spec=ONE_NODE.format(name=name, url=f"{name}.mar"))
    make_war(service.workflow_store, name="cyclic", spec="dag:\n  a: [b]\n  b: [c]\n  c: [b]\n")
    (folder / "failing").mkdir()
    along = [make_war(folder), make_mar(folder)]
    failing = [make_war(folder / "failing"), make_mar(folder / "failing", source=BROKEN)]
    archives = {version: make_version(service, version) for version in STAYING}
    with served_archives(folder, pause_s=0.02) as (remote, address):
        make_mar(remote, name="far", extra_files={"weights": random.Random(seed).randbytes(200_000)})
        make_war(remote, name="far", spec=ONE_NODE.format(name="far", url=f"{address}/far.mar"))
        kinds = [
            Kind(url="seq.war"),
            Kind(url="late.war"),
            Kind(url=f"{address}/far.war"),
            Kind(url=f"{address}/far.war?token=secret", is_held=True),
            Kind(url="seq.war", is_further=True),
            Kind(url=f"{address}/far.war", is_further=True),
            Kind(url="broken.war", code=500),
            Kind(url="cyclic.war", code=400),
            Kind(files=along, is_held=True),
            Kind(files=along, is_held=True, is_further=True),
            Kind(files=failing, is_held=True, code=500),
            Kind(files=along[:1], is_held=True),
            Kind(url=f"{address}/gone.war", code=400),
            *[Kind(action="scale"), Kind(action="set-default")] * 2,
        ]
        own = {path.name for path in (*service.workflow_store.iterdir(), *service.model_store.iterdir())}
        try:
            service.start()
            for version, file in archives.items():
                assert service.register(file, version=version, workflow_name=BASE).status_code == 200
            yield OperationCampaign(service=service, chance=random.Random(seed), kinds=kinds, own_files=own)
        finally:
            service.kill()
