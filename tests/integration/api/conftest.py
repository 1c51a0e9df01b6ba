"""The management application over a runtime in memory."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.management_api import ManagementApi, Snapshot, make_instance, management_api


@pytest.fixture(name="instance", scope="session")
def _instance(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An instance to copy, since the migrations of a new database take longer than a test."""
    return make_instance(tmp_path_factory.mktemp("api") / "i")


@pytest.fixture(name="api")
def _api(tmp_path: Path, instance: Path) -> Iterator[ManagementApi]:
    """One that knows no workflow yet."""
    with management_api(shutil.copytree(instance, tmp_path / "i")) as api:
        yield api


@pytest.fixture(name="two_kept", scope="session")
def _two_kept(tmp_path_factory: pytest.TempPathFactory, instance: Path) -> Snapshot:
    """An instance to copy, of `two`."""
    folder = shutil.copytree(instance, tmp_path_factory.mktemp("two") / "i")
    with management_api(folder) as api:
        api.register("1.0")
        api.register("2.0")
    return Snapshot(folder=folder, runtime=api.runtime)


@pytest.fixture(name="two")
def _two(tmp_path: Path, two_kept: Snapshot) -> Iterator[ManagementApi]:
    """One that has `seq` in the versions 1.0, which is the default, and 2.0."""
    with two_kept.copy(tmp_path / "i") as api:
        yield api
