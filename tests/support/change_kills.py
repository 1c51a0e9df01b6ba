"""A workflow that is changed while its service is killed, and a search for what was lost or left half there."""

import random
import threading
import uuid
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import requests
from urllib3.exceptions import NewConnectionError

from tests.support.changing import NAME, NODE, make_version
from tests.support.evidence import query, rows
from tests.support.service import Service, stored_files, wait_until
from wfmgmt.registry.registry import Registry

#: Versions that are always there, and one that comes and goes.
STAYING, THIRD = ("1.0", "2.0"), "3.0"
#: Processes of a loaded version beside the workers of its model.
FUNCTIONS = 2


@dataclass(frozen=True, kw_only=True)
class State:
    """What a workflow is to be.

    Attributes:
        release: Number of the release.
        weights: The shares of that.
        settings: By version, what its model is set to: least and most workers, batch size.
    """

    release: int
    weights: dict[str, int]
    settings: dict[str, tuple[int, int, int]]

    def released(self, weights: dict[str, int]) -> "State":
        """Return it after a release; what holds already is none."""
        if weights == self.weights:
            return self
        return replace(self, release=self.release + 1, weights=weights)

    def set(self, version: str, settings: tuple[int, int, int]) -> "State":
        """Return it after a change of settings."""
        return replace(self, settings={**self.settings, version: settings})


@dataclass(kw_only=True)
class Sent:
    """One change that was sent.

    Attributes:
        request_id: Its identity, under which it is in the audit trail.
        action: What that calls it.
        before: What held before it.
        after: What holds after it.
        status: Of the answer; None when the connection broke before there was one.
    """

    request_id: str
    action: str
    before: State
    after: State
    status: int | None = None


#: A change: method, path, parameters, action and what it leads to.
_Change = tuple[str, str, dict[str, Any], str, State]


@dataclass(kw_only=True)
class ChangeCampaign:
    """A client that changes one workflow in every way, and what has to hold after its service was killed.

    Attributes:
        service: The service, not started yet.
        random: What is random.
        known: What holds for sure.
        tables: The shares of each release, by number.
        sent: Every change that was sent.
        surprises: Answers that no change should have got.
    """

    service: Service
    random: random.Random
    known: State = field(
        default_factory=lambda: State(release=1, weights={"1.0": 100}, settings=dict.fromkeys(STAYING, (1, 1, 1)))
    )
    tables: dict[int, dict[str, int]] = field(default_factory=lambda: {1: {"1.0": 100}})
    sent: list[Sent] = field(default_factory=list)
    surprises: list[str] = field(default_factory=list)
    _seen: int = 0
    _is_over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def prepare(self) -> None:
        """Register the versions that stay, and stop the service again."""
        for version in (*STAYING, THIRD):
            make_version(self.service, version)
        with self.service as service:
            assert service.register(f"{NAME}-1.0.war").status_code == 200
            assert service.register(f"{NAME}-2.0.war", version="2.0").status_code == 200

    def begin(self) -> None:
        """Let the client work."""
        self._is_over.clear()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def end(self) -> None:
        """Let the client finish the change that it waits for."""
        self._is_over.set()
        assert self._thread is not None
        self._thread.join(90)
        assert not self._thread.is_alive()

    def _work(self) -> None:
        while not self._is_over.is_set():
            method, path, parameters, action, after = self._next()
            sent = Sent(request_id=uuid.uuid4().hex, action=action, before=self.known, after=after)
            url = f"{self.service.management}/workflows{path}"
            headers = {"x-request-id": sent.request_id}
            try:
                answer = requests.request(method, url, params=parameters, headers=headers, timeout=60)
            except requests.ConnectionError as error:
                if isinstance(getattr(error.args[0], "reason", None), NewConnectionError):
                    self._is_over.wait(0.02)
                    continue  # Nothing listened, so it was never sent.
                self.sent.append(sent)
                return  # What came of it is looked for after the restart.
            sent.status = answer.status_code
            self.sent.append(sent)
            # A change of workers that is recorded while the runtime goes is answered as one that is in progress.
            if sent.status not in (200, 202, 206):
                self.surprises.append(f"{method} {path} {parameters}: {answer.text}, known: {self.known}")
                return
            self._learn(after)

    def _next(self) -> _Change:
        """Choose a change that will be carried out."""
        kinds = (self._set_default, self._share, self._roll_back, self._scale, self._batch, self._come_or_go)
        return self.random.choice(kinds)()

    def _set_default(self) -> _Change:
        version = self.random.choice(STAYING)
        return "PUT", f"/{NAME}/{version}/set-default", {}, "set-default", self.known.released({version: 100})

    def _share(self) -> _Change:
        weights = self.known.weights
        default = max(weights, key=lambda version: weights[version])
        (other,) = set(STAYING) - {default}
        weight = self.random.randrange(1, 50)
        after = self.known.released({default: 100 - weight, other: weight})
        return "PUT", f"/{NAME}/traffic", {"version": other, "weight": weight}, "traffic", after

    def _roll_back(self) -> _Change:
        number = self.random.choice(list(self.tables))
        after = self.known.released(self.tables[number])
        return "POST", f"/{NAME}/rollback", {"to": number}, "rollback", after

    def _scale(self) -> _Change:
        version, count = self.random.choice(STAYING), self.random.randrange(1, 4)
        after = self.known.set(version, (count, count, self.known.settings[version][-1]))
        is_awaited = self.random.choice(("true", "false"))
        parameters = {"min_worker": count, "max_worker": count, "synchronous": is_awaited}
        return "PUT", f"/{NAME}/{version}", parameters, "scale", after

    def _batch(self) -> _Change:
        version, size = self.random.choice(STAYING), self.random.randrange(1, 9)
        fewest, most, _ = self.known.settings[version]
        after = self.known.set(version, (fewest, most, size))
        return "PUT", f"/{NAME}/{version}/nodes/{NODE}", {"batch_size": size}, "update", after

    def _come_or_go(self) -> _Change:
        settings = self.known.settings
        if THIRD in settings:
            after = replace(self.known, settings={name: settings[name] for name in settings.keys() - {THIRD}})
            return "DELETE", f"/{NAME}/{THIRD}", {}, "unregister-version", after
        parameters = {"url": f"{NAME}-{THIRD}.war", "version": THIRD}
        return "POST", "", parameters, "register-version", self.known.set(THIRD, (1, 1, 1))

    def _learn(self, state: State) -> None:
        self.known = state
        self.tables[state.release] = state.weights

    def check(self, *, is_fresh: bool) -> None:
        """Look for losses, for anything half there and for gaps in the history and in the audit trail.

        Args:
            is_fresh: Whether the service was just started, so that it has looked for stray files.
        """
        service = self.service
        assert not self.surprises, self.surprises
        wait_until(
            lambda: not rows(service, "SELECT uid FROM workflow_version WHERE status <> 'ready'"), what="recovery"
        )
        pending = [each for each in self.sent[self._seen :] if each.status is None]
        found = self._found()
        assert found in [self.known, *(each.after for each in pending)], (found, self.known, pending)
        self._learn(found)
        self._check_history()
        self._check_audit()
        if is_fresh:
            self._check_workers()
            leases = service.run_folder / "leases"
            wait_until(lambda: not stored_files(leases), what="the end of the leases")
        self._check_answers()

    def _found(self) -> State:
        """Return what the workflow is now, as the service describes it."""
        answer = requests.get(f"{self.service.management}/workflows/{NAME}/all", timeout=10)
        assert answer.status_code == 200, answer.text
        described = answer.json()
        settings: dict[str, tuple[int, int, int]] = {}
        for version in described:
            (node,) = (node for node in version["nodes"] if node["name"] == NODE)
            settings[version["version"]] = (node["minWorkers"], node["maxWorkers"], node["batchSize"])
        assert all(each["routes"] == described[0]["routes"] for each in described)
        weights = {route["version"]: route["weight"] for route in described[0]["routes"]}
        return State(release=described[0]["release"], weights=weights, settings=settings)

    def _check_history(self) -> None:
        """Compare the history that auditors read with the current release, and look for gaps in it."""
        history = query(self.service, "SELECT * FROM v_serving_history ORDER BY release, weight DESC")
        numbers = {row["release"]: (row["from_at"], row["to_at"]) for row in history}
        assert list(numbers) == list(range(1, self.known.release + 1))
        moments = list(numbers.values())
        assert [ended for _, ended in moments] == [*(began for began, _ in moments[1:]), None]
        sums: Counter[int] = Counter()
        for row in history:
            sums[row["release"]] += row["weight"]
        assert set(sums.values()) == {100}
        last = {row["version"]: row["weight"] for row in history if row["to_at"] is None}
        assert last == self.known.weights
        current = query(self.service, "SELECT number FROM v_release WHERE is_current = 1")
        assert [row["number"] for row in current] == [self.known.release]

    def _check_audit(self) -> None:
        """Compare each answer since the last check with its events."""
        events: dict[str, list[tuple[str, str]]] = {}
        for request_id, action, outcome in rows(
            self.service, "SELECT request_id, action, outcome FROM audit_event ORDER BY id"
        ):
            events.setdefault(request_id, []).append((action, outcome))
        for sent in self.sent[self._seen :]:
            found = events.get(sent.request_id, [])
            if sent.status is None and sent.action == "unregister-version" and not found:
                continue  # Housekeeping finished or undid it, and recorded that.
            if sent.status is None and sent.action == "register-version" and found == [("register", "failed")]:
                continue  # It was interrupted before it was known to be a further version.
            was_made = sent.after != sent.before and (sent.status is not None or self.known == sent.after)
            if sent.status is None and not was_made and found == [(sent.action, "failed")]:
                continue  # It had to load a version first, and was interrupted as an operation, whose end is recorded.
            assert found == ([(sent.action, "succeeded")] if was_made else []), (sent, found)
        self._seen = len(self.sent)
        registry = Registry(f"sqlite:///{self.service.database}")
        try:
            assert registry.verify_audit().broken_at is None
        finally:
            registry.close()

    def _check_workers(self) -> None:
        """Wait until there are the workers that the release calls for, and no others."""
        service, known = self.service, self.known
        wanted = sum(FUNCTIONS + known.settings[version][0] for version in known.weights)
        # The forkserver, which the first load starts, is one of them.
        wait_until(lambda: len(service.worker_pids()) - 1 == wanted, timeout_s=30, what=f"{wanted} workers for {known}")

    def _check_answers(self) -> None:
        """Ask each version that the release names, and let the release choose."""
        for version in self.known.weights:
            wait_until(partial(self._answers, version), what=f"version {version}")
        answer = requests.post(f"{self.service.inference}/wfpredict/{NAME}", data=b"x", timeout=20)
        assert (answer.status_code, answer.text in self.known.weights) == (200, True), answer.text

    def _answers(self, version: str) -> bool:
        answer = requests.post(f"{self.service.inference}/wfpredict/{NAME}/{version}", data=b"x", timeout=20)
        return (answer.status_code, answer.text) == (200, version)

    def figures(self) -> str:
        """Return a line with what was sent and how it was answered."""
        counts = Counter((each.action, each.status) for each in self.sent)
        shown = ", ".join(
            f"{action} {status or 'broken off'}: {n}" for (action, status), n in sorted(counts.items(), key=str)
        )
        return f"{len(self.sent)} changes ({shown}), {self.known.release} releases"


def make_campaign(service: Service, seed: int = 1) -> ChangeCampaign:
    """Return a campaign over a service of its own, whose workflow is registered."""
    campaign = ChangeCampaign(service=service, random=random.Random(seed))
    campaign.prepare()
    return campaign
