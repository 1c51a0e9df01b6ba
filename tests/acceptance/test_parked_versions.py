"""Versions without a share: their workers go after a while, and come back for those who name them."""

from collections.abc import Iterator

import pytest
import requests

from tests.support.service import Service, wait_until


@pytest.fixture(name="parking")
def _parking(prepared: Service) -> Iterator[Service]:
    """Run a deployment that parks versions at once, with two versions of `seq`."""
    prepared.environment["WFMGMT_STANDBY_S"] = "0"
    with prepared:
        assert prepared.register("seq.war").status_code == 200
        assert prepared.register("seq.war", workflow_name="seq", version="2.0").status_code == 200
        yield prepared


def states(service: Service) -> dict[str, str]:
    """Return the state of each version."""
    described = requests.get(f"{service.management}/workflows/seq/all", timeout=30).json()
    return {version["version"]: version["state"] for version in described}


def answered_by(service: Service, path: str) -> str:
    """Return the version that answers."""
    answer = requests.post(f"{service.inference}/wfpredict/{path}", data=b"x", timeout=60)
    assert (answer.status_code, answer.content) == (200, b"x")
    return answer.headers["x-workflow-version"]


def wait_until_parked(service: Service, version: str) -> None:
    """Return when nothing of a version is loaded."""
    wait_until(lambda: states(service)[version] == "parked", timeout_s=30, what=f"{version} to be parked")


def test_parked_version_comes_back_for_those_who_name_it(parking: Service) -> None:
    """A request, or a release; after a restart only what the release names is loaded."""
    wait_until_parked(parking, "2.0")
    assert len(parking.worker_pids()) == 4  # The forkserver, and one for each node of 1.0.
    assert answered_by(parking, "seq/2.0") == "2.0"
    wait_until(lambda: len(parking.worker_pids()) == 4, timeout_s=30, what="2.0 to be parked again")
    wait_until_parked(parking, "2.0")
    assert requests.put(f"{parking.management}/workflows/seq/2.0/set-default", timeout=60).status_code == 200
    assert answered_by(parking, "seq") == "2.0"
    wait_until_parked(parking, "1.0")
    assert parking.stop() == 0
    parking.start()
    assert answered_by(parking, "seq") == "2.0"
    assert states(parking)["1.0"] == "parked"
    assert answered_by(parking, "seq/1.0") == "1.0"
