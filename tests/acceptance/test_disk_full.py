"""A disk that is full at one write or another: nothing stays half there, and all is well once there is space."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.support.disk_full import FullDiskCase, assert_works, full_disk_case, step_through_space
from tests.support.service import wait_until

PLACES = ["instance/database", "instance/workflow_store", "instance/model_store", "instance/run", "instance/archives"]


@pytest.fixture(name="disks", scope="module")
def _disks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, FullDiskCase]]:
    folder = tmp_path_factory.mktemp("disks")
    with full_disk_case(folder, *PLACES) as case:
        assert_works(case)
        yield folder, case


@pytest.mark.parametrize("place", PLACES)
def test_registration_is_refused_with_507_while_a_disk_is_full(disks: tuple[Path, FullDiskCase], place: str) -> None:
    """Nothing of it can be seen, no file stays, and it works as soon as there is space."""
    folder, case = disks
    before = case.traces()
    case.empty_log()
    case.disks.fill(folder / place)
    answer = case.register()
    assert (answer.status_code, answer.json()["code"]) == (507, 507), answer.text
    assert answer.json()["type"] == "InsufficientStorageException"
    assert case.traces() == before
    case.disks.free(folder / place)
    assert_works(case)


def test_requests_are_answered_and_counted_while_the_disk_of_the_counters_is_full(
    disks: tuple[Path, FullDiskCase],
) -> None:
    """Counting what was never counted before needs room in files that are mapped into memory; they have it already."""
    folder, case = disks
    case.disks.fill(folder / "instance/run")
    for path, status in (("models", 200), ("api-description", 200), ("workflows/nosuch", 404), ("metrics", 200)):
        assert requests.get(f"{case.service.management}/{path}", timeout=10).status_code == status
    counted = requests.get(f"{case.service.management}/metrics", timeout=10).text
    assert 'wfmgmt_requests_total{method="GET",route="/models",status="200"} 1.0' in counted
    case.disks.free(folder / "instance/run")


def test_removal_is_refused_with_507_while_the_disk_of_the_database_is_full(
    disks: tuple[Path, FullDiskCase],
) -> None:
    """The workflow stays registered and running, and can be removed once there is space."""
    folder, case = disks
    assert case.register().status_code == 200
    wait_until(lambda: case.service.ready_workers("near") == [1, 1, 1], what="the models")
    before = case.traces()
    case.empty_log()
    case.disks.fill(folder / "instance/database")
    answer = case.service.unregister("near")
    assert (answer.status_code, answer.json()["code"]) == (507, 507), answer.text
    assert case.traces() == before
    case.disks.free(folder / "instance/database")
    assert case.service.unregister("near").status_code == 200
    assert_works(case)


def test_registration_is_whole_or_undone_however_little_space_there_is(tmp_path: Path) -> None:
    """From no space at all to enough, every attempt answers 507 and leaves nothing, until one answers 200."""
    with full_disk_case(tmp_path, "instance") as case:
        assert_works(case)
        step_through_space(case, tmp_path / "instance", case.register, case.unregister, step_bytes=32 * 1024)


UPLOADING = ["instance/database", "instance/model_store"]


@pytest.mark.parametrize("place", UPLOADING)
def test_upload_is_refused_with_507_while_a_disk_is_full(disks: tuple[Path, FullDiskCase], place: str) -> None:
    """Nothing of it stays, and it works as soon as there is space."""
    folder, case = disks
    step_through_space(case, folder / place, case.upload, case.remove_upload, step_bytes=32 * 1024)


@pytest.mark.slow
@pytest.mark.parametrize("place", UPLOADING)
def test_upload_is_whole_or_undone_at_every_write(disks: tuple[Path, FullDiskCase], place: str) -> None:
    """Whichever page is the first that finds no space."""
    folder, case = disks
    assert step_through_space(case, folder / place, case.upload, case.remove_upload, step_bytes=4096) > 0


@pytest.mark.slow
def test_upload_is_whole_or_undone_at_every_write_of_one_disk(tmp_path: Path) -> None:
    """The same, with everything on one disk."""
    with full_disk_case(tmp_path, "instance") as case:
        step_through_space(case, tmp_path / "instance", case.upload, case.remove_upload, step_bytes=4096)
