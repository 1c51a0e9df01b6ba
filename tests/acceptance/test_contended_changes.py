"""Sixteen clients that change one workflow at the same moment, on SQLite and PostgreSQL."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import text

from tests.support.changing import NAME, make_version, releases
from tests.support.postgresql import postgresql
from tests.support.races import CLIENTS, at_once
from tests.support.service import Service
from wfmgmt.registry.schema import locked_connection


@pytest.fixture(name="contended", scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def _contended(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a deployment with four web workers and two versions of a workflow."""
    folder: Path = tmp_path_factory.mktemp("contended") / "instance"
    with ExitStack() as stack:
        settings: dict[str, Any] = (
            {"database_url": stack.enter_context(postgresql())} if request.param == "postgresql" else {}
        )
        service = Service(folder, "-w", "4", **settings)
        files = [make_version(service, version) for version in ("1.0", "2.0")]
        stack.enter_context(service)
        assert service.register(files[0]).status_code == 200
        assert service.register(files[1], version="2.0").status_code == 200
        yield service


def give_share(service: Service, weight: int, **headers: str) -> requests.Response:
    """Give version 2.0 a share."""
    url = f"{service.management}/workflows/{NAME}/traffic"
    parameters: dict[str, str | int] = {"version": "2.0", "weight": weight}
    return requests.put(url, params=parameters, headers=headers, timeout=60)


def give_share_at(service: Service, weights: list[int], tag: str, client: int) -> requests.Response:
    """Give version 2.0 the share that a client wants if the workflow has the revision of a tag."""
    return give_share(service, weights[client], **{"If-Match": tag})


def described(service: Service) -> requests.Response:
    """Return the description of the workflow."""
    return requests.get(f"{service.management}/workflows/{NAME}", timeout=10)


def events(service: Service) -> list[dict[str, Any]]:
    """Return the audit events about traffic, in their order."""
    database = service.environment.get("WFMGMT_DATABASE_URL", f"sqlite:///{service.database}")
    with locked_connection(database) as connection:
        found = connection.execute(text("SELECT outcome, detail FROM audit_event WHERE action = 'traffic' ORDER BY id"))
        return [{**json.loads(row.detail), "outcome": row.outcome} for row in found]


def test_one_of_sixteen_clients_changes_the_revision_that_all_have_seen(contended: Service) -> None:
    """One 200 and fifteen 412 that name the revision; one release, one event of it and fifteen of refusals."""
    before = len(events(contended))
    for attempt in range(3):
        weights = [1 + client + attempt * CLIENTS for client in range(CLIENTS)]  # None holds already.
        seen, known = described(contended).headers["ETag"], releases(contended)
        answers = at_once(partial(give_share_at, contended, weights, seen))
        assert Counter(answer.status_code for answer in answers) == {200: 1, 412: CLIENTS - 1}
        now = described(contended)
        revision = int(seen.strip('"')) + 1
        assert now.headers["ETag"] == f'"{revision}"'
        refused = [answer.json() for answer in answers if answer.status_code == 412]
        assert {each["type"] for each in refused} == {"PreconditionFailedException"}
        assert all(f"revision {revision}" in each["message"] for each in refused)
        (won,) = (weights[client] for client, answer in enumerate(answers) if answer.status_code == 200)
        newest, *older = releases(contended)
        assert older == known
        assert newest["routes"][0] == {"version": "2.0", "weight": won}
    outcomes = Counter(event["outcome"] for event in events(contended)[before:])
    assert outcomes == {"succeeded": 3, "failed": 3 * (CLIENTS - 1)}


def test_sixteen_clients_make_sixteen_releases_in_order(contended: Service) -> None:
    """Each change has one release, one revision and one event, and what was before it is what the last one made."""
    audited, known = len(events(contended)), releases(contended)
    revision = described(contended).json()[0]["revision"]
    answers = at_once(lambda client: give_share(contended, client + 20))
    assert [answer.status_code for answer in answers] == [200] * CLIENTS
    made = releases(contended)[: -len(known)][::-1]
    first = known[0]["number"] + 1
    assert [release["number"] for release in made] == list(range(first, first + CLIENTS))
    assert {release["routes"][0]["weight"] for release in made} == set(range(20, 20 + CLIENTS))
    by_number = {answer.json()["release"]["number"]: answer.json()["release"] for answer in answers}
    assert [by_number[release["number"]] for release in made] == made
    assert described(contended).json()[0]["revision"] == revision + CLIENTS
    trail = events(contended)[audited:]
    assert [event["release"] for event in trail] == [release["number"] for release in made]
    assert [event["after"]["routes"] for event in trail] == [release["routes"] for release in made]
    assert [event["before"]["routes"] for event in trail[1:]] == [release["routes"] for release in made[:-1]]
    verified = contended.command("audit", "verify")
    assert verified.returncode == 0, verified.stderr
