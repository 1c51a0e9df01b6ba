"""Each process loads its own plane only, and a command what it needs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.loaded_modules import Loaded, ModuleProbe
from tests.support.processes import runtime_pid, web_workers
from tests.support.records import make_registry
from tests.support.service import Service

#: What costs memory and time, or belongs to one plane.
HEAVY = {
    "aiohttp",
    "alembic",
    "flask",
    "gunicorn",
    "prometheus_client",
    "pydantic",
    "sqlalchemy",
    "uvloop",
    "wfmgmt.api",
    "wfmgmt.deployment.gunicorn_master",
    "wfmgmt.management",
    "wfmgmt.runtime_factory",
    "wfmgmt.serving",
    "wfmgmt.wsgi",
    "yaml",
}
RUNTIME = {
    "aiohttp",
    "prometheus_client",
    "pydantic",
    "sqlalchemy",
    "uvloop",
    "wfmgmt.runtime_factory",
    "wfmgmt.serving",
    "yaml",
}
#: What only the runtime has, or a master that migrates the database. gunicorn's master loads all the rest, and each web
#: worker begins as a copy of it.
MANAGEMENT = HEAVY - {"aiohttp", "alembic", "uvloop", "wfmgmt.runtime_factory", "wfmgmt.serving"}
#: What each command has that looks at the instance.
COMMAND = {"pydantic", "sqlalchemy"}


@pytest.fixture(name="probed", scope="module")
def _probed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, ModuleProbe]]:
    folder = tmp_path_factory.mktemp("probed")
    service = Service(folder / "instance")
    make_registry(service.instance).close()
    probe = ModuleProbe(folder / "modules", service)
    with service:
        yield service, probe


def heavy(loaded: Loaded) -> set[str]:
    """Return what a process has of what costs most."""
    return HEAVY & loaded.modules


def test_management_plane_is_without_the_runtime(probed: tuple[Service, ModuleProbe]) -> None:
    """The master of gunicorn, and all web workers."""
    service, probe = probed
    assert service.process is not None
    for pid in (service.process.pid, *web_workers(service)):
        assert heavy(probe.of_process(pid)) == MANAGEMENT


def test_runtime_is_without_the_management_plane(probed: tuple[Service, ModuleProbe]) -> None:
    """Neither Flask nor gunicorn, nor what migrates the database or downloads archives."""
    service, probe = probed
    assert heavy(probe.of_process(runtime_pid(service))) == RUNTIME


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        (["--version"], set()),
        (["--help"], set()),
        (["serve", "--help"], set()),
        (["list"], {"pydantic"}),
        (["audit", "verify"], COMMAND),
        (["backup", "{folder}/copy.db"], COMMAND),
        (["migrate"], COMMAND),
        (["import-torchserve", "--help"], COMMAND | {"aiohttp", "wfmgmt.management", "yaml"}),
        (["reconcile", "--dry-run"], COMMAND | {"wfmgmt.management", "yaml"}),
    ],
    ids=[
        "--version",
        "--help",
        "serve --help",
        "list",
        "audit verify",
        "backup",
        "migrate",
        "import-torchserve",
        "reconcile",
    ],
)
def test_command_loads_what_it_needs(
    probed: tuple[Service, ModuleProbe], tmp_path: Path, arguments: list[str], needed: set[str]
) -> None:
    """Its own module and what that uses, beside a service that runs."""
    _, probe = probed
    assert heavy(probe.of_command(*(each.format(folder=tmp_path) for each in arguments))) == needed
