"""Environments with the libraries that archives list: real pip, real interpreters, no network."""

import asyncio
import errno
import json
import os
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.distributions import hanging_build, make_sdist, make_wheel, pip_environment
from tests.support.factories import make_mar, make_war
from tests.support.model_servers import LocalServers, entries, has_ended, load_functions, open_servers, until
from wfmgmt.domain.faults import Fault
from wfmgmt.serving.models.base import ModelNotLoaded
from wfmgmt.serving.models.local.environments import Environments, environment_of
from wfmgmt.serving.models.local.forkserver_client import ForkserverClient, WorkerEnvironment
from wfmgmt.serving.models.local.installer import Installer
from wfmgmt.serving.models.protocol import LoadedModel
from wfmgmt.testing import in_event_loop, load
from wfmgmt.testing.predicting import text_of

FACTS = """
import importlib.metadata, os, subprocess, sys
import {module}

def handle(data, context):
    import flask
    if data is not None:
        script = subprocess.run(["{module}-says"], capture_output=True, text=True).stdout.strip()
        return [[{module}.__version__, importlib.metadata.version("{module}"), script, os.getppid()] for _ in data]
"""

VERSION = """
from importlib.metadata import version
import iniconfig

def handle(data, context):
    return data and [version("iniconfig") + " " + iniconfig.__file__ for _ in data]
"""


@dataclass(frozen=True)
class Installing:
    """Model servers that install what archives list.

    Attributes:
        servers: Run models and functions.
        environments: Their environments.
        folder: Where these are.
        packages: What pip finds.
    """

    servers: LocalServers
    environments: Environments
    folder: Path
    packages: Path

    @property
    def made(self) -> list[Path]:
        """What is in the folder of the environments, whole or not."""
        return entries(self.folder)


@asynccontextmanager
async def installing(
    tmp_path: Path, *, timeout_s: float = 120, keep_s: float = 0, preload: tuple[str, ...] = ()
) -> AsyncIterator[Installing]:
    """Open model servers that install what archives list."""
    packages, folder = tmp_path / "packages", tmp_path / "environments"
    packages.mkdir(exist_ok=True)
    own = WorkerEnvironment(environment=pip_environment(packages), preload=preload)
    environments = Environments(
        folder,
        installer=Installer(own.environment or {}, timeout_s),
        make_forkserver=lambda each: ForkserverClient(environment_of(each, own)),
        keep_s=keep_s,
    )
    try:
        async with open_servers(
            tmp_path / "u", worker_environment=own, environments=environments, model_requirements="install"
        ) as servers:
            yield Installing(servers, environments, folder, packages)
    finally:
        await environments.close()


def write(installing: Installing, tmp_path: Path, name: str, module: str, version: str) -> Path:
    """Write a package of this version, and a model that lists and shows it."""
    make_wheel(installing.packages, module, version, source="def main():\n    print('hi')\n", script=f"{module}-says")
    return make_mar(tmp_path, name=name, source=FACTS.format(module=module), requirements=f"{module}=={version}\n")


async def ask(model: LoadedModel) -> list[object]:
    """Return what a model of `write` says."""
    said: list[object] = json.loads(await text_of(model, ""))
    return said


async def nobody() -> Collection[str]:
    """Return that nothing is registered."""
    return ()


@in_event_loop
async def test_models_with_the_same_libraries_share_an_environment_and_its_forkserver(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is made once, has the service's packages below its own, and its forkserver ends with its last model.

    The log has a line at the beginning of the installation, and one at its end.
    """
    caplog.set_level("INFO")
    async with installing(tmp_path) as each:
        archive = write(each, tmp_path, "first", "greeting", "1.0")
        source = FACTS.format(module="greeting")
        other = make_mar(tmp_path, name="second", source=source, requirements="Greeting == 1.0")
        models = await asyncio.gather(
            load(each.servers.models, archive, uid="a"), load(each.servers.models, other, uid="b")
        )
        (version, installed, script, forkserver), second = [await ask(model) for model in models]
        assert (version, installed, script) == ("1.0", "1.0", "hi")
        lines = [record.message for record in caplog.records if "worker" not in record.message]
        assert [line.split(" ")[0] for line in lines] == ["installing", "installed"], lines
        assert second[3] == forkserver
        assert isinstance(forkserver, int)
        (environment,) = each.made
        assert sorted(path.name for path in (environment / "used-by").iterdir()) == ["a", "b"]
        assert not (environment / "tmp").exists()
        await models[0].unload()
        assert (await ask(models[1]))[3] == forkserver
        await models[1].unload()
        await until(lambda: has_ended(forkserver), what="the end of the forkserver")


@in_event_loop
async def test_model_has_another_version_of_a_package_than_the_service(tmp_path: Path) -> None:
    """Beside one that lists nothing and has the service's own; both at the same time."""
    async with installing(tmp_path) as each:
        make_wheel(each.packages, "iniconfig", "0.0.1")
        old = make_mar(tmp_path, name="old", source=VERSION, requirements="iniconfig<1")
        plain = make_mar(tmp_path, name="plain", source=VERSION)
        first = await load(each.servers.models, old, uid="a")
        second = await load(each.servers.models, plain, uid="b")
        assert (await text_of(first, "")).startswith("0.0.1 " + str(each.folder))
        assert not (await text_of(second, "")).startswith("0.0.1 ")


@in_event_loop
async def test_version_that_cannot_be_preloaded_fails_its_own_model(tmp_path: Path) -> None:
    """The modules of `PRELOAD` are imported in each interpreter; the service's own goes on."""
    async with installing(tmp_path, preload=("iniconfig",)) as each:
        make_wheel(each.packages, "iniconfig", "0.0.1", source="raise ImportError('too old')")
        with pytest.raises(ModelNotLoaded, match=r"WFMGMT_PRELOAD: iniconfig cannot be imported.*too old") as raised:
            await load(each.servers.models, make_mar(tmp_path, name="old", requirements="iniconfig<1"), uid="a")
        assert raised.value.fault is Fault.MODEL
        await load(each.servers.models, make_mar(tmp_path, name="plain", source=VERSION), uid="b")


@in_event_loop
async def test_interpreter_that_its_libraries_break_fails_its_own_model(tmp_path: Path) -> None:
    """Trying again does not help, so it is the model's fault, and others load."""
    async with installing(tmp_path) as each:
        make_wheel(each.packages, "setproctitle", "99.0", source="raise SystemExit(3)\n")
        with pytest.raises(ModelNotLoaded, match=r"the interpreter with the libraries that m1\.mar lists") as raised:
            await load(each.servers.models, make_mar(tmp_path, requirements="setproctitle==99.0"))
        assert raised.value.fault is Fault.MODEL
        await load(each.servers.models, make_mar(tmp_path, name="other"), uid="other")


@in_event_loop
async def test_nothing_is_installed_when_all_is_there(tmp_path: Path) -> None:
    """Then the service's own interpreter will do; a file without libraries is none."""
    async with installing(tmp_path) as each:
        for name, listed in (("some", "pytest>=1\nno-such-library; python_version < '3'"), ("none", "# nothing\n")):
            await load(each.servers.models, make_mar(tmp_path, name=name, requirements=listed), uid=name)
        assert each.made == []


@in_event_loop
async def test_functions_have_the_libraries_of_the_workflow_archive(tmp_path: Path) -> None:
    """All of its functions, from one environment."""
    async with installing(tmp_path) as each:
        make_wheel(each.packages, "greeting", "1.0")
        handler = "import greeting\ndef one(data, context):\n    return data\ntwo = one\n"
        archive = make_war(tmp_path, handler=handler, extra_files={"requirements.txt": "greeting"})
        await load_functions(each.servers, archive, "one", "two")
        assert len(each.made) == 1


@pytest.mark.parametrize(
    ("listed", "reason"),
    [
        ("no-such-library==1", "the libraries that m1.mar lists cannot be installed: Could not find a version that"),
        ("broken", "ZeroDivisionError: division by zero"),
        ("--index-url https://host.example/simple", "m1.mar: requirements.txt, line 1: --index-url is not allowed"),
    ],
)
@in_event_loop
async def test_failed_installation_fails_the_load_and_leaves_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, listed: str, reason: str
) -> None:
    """The reason has pip's last words and no path of this machine; the log has all of them, once."""
    caplog.set_level("INFO")
    async with installing(tmp_path) as each:
        make_sdist(each.packages, "broken", "1.0", first="1 / 0")
        with pytest.raises(ModelNotLoaded) as raised:
            await load(each.servers.models, make_mar(tmp_path, requirements=listed))
        assert reason in raised.value.reason
        assert str(tmp_path) not in raised.value.reason
        assert each.made == []
    if "--index-url" not in listed:
        assert [record.message.split(" ")[0] for record in caplog.records] == ["installing", "pip"]
        assert vars(caplog.records[1])["traceback"].startswith("Looking in links: ")


@in_event_loop
async def test_full_disk_is_the_cause_when_pip_says_so(tmp_path: Path) -> None:
    """So that the client is answered as for every other full disk."""
    async with installing(tmp_path) as each:
        make_sdist(each.packages, "large", "1.0", first="raise OSError(28, 'No space left on device')")
        with pytest.raises(ModelNotLoaded) as raised:
            await load(each.servers.models, make_mar(tmp_path, requirements="large"))
        assert isinstance(raised.value.__cause__, OSError)
        assert raised.value.__cause__.errno == errno.ENOSPC


@in_event_loop
async def test_installation_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    """With all that it has started."""
    async with installing(tmp_path, timeout_s=3) as each:
        make_sdist(each.packages, "slow", "1.0", first=hanging_build(tmp_path / "pid"))
        with pytest.raises(ModelNotLoaded, match=r"within WFMGMT_REQUIREMENTS_TIMEOUT_S \(3 s\)"):
            await load(each.servers.models, make_mar(tmp_path, requirements="slow"))
        if (tmp_path / "pid").exists():  # On a busy machine pip does not get that far.
            await until(lambda: has_ended(int((tmp_path / "pid").read_text())), what="the end of the build")
        assert each.made == []


@in_event_loop
async def test_installation_goes_on_while_somebody_waits_for_it(tmp_path: Path) -> None:
    """Other models load meanwhile; it ends with the last load that is cancelled, and nothing of it is left."""
    async with installing(tmp_path) as each:
        pid = tmp_path / "pid"
        make_sdist(each.packages, "slow", "1.0", first=hanging_build(pid))
        archive = make_mar(tmp_path, requirements="slow")
        loads = [asyncio.create_task(load(each.servers.models, archive, uid=uid)) for uid in ("a", "b")]
        await until(lambda: pid.exists() and pid.read_text() != "", timeout_s=60, what="the build")
        assert len(each.made) == 1
        await load(each.servers.models, make_mar(tmp_path, name="other"), uid="c")
        loads[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await loads[0]
        assert not has_ended(int(pid.read_text()))
        loads[1].cancel()
        with pytest.raises(asyncio.CancelledError):
            await loads[1]
        await until(lambda: has_ended(int(pid.read_text())), what="the end of the build")
        await until(lambda: each.made == [], what="the removal")


@in_event_loop
async def test_environment_goes_when_no_registration_has_used_it_for_a_while(tmp_path: Path) -> None:
    """Neither one that is loaded, nor one that is registered, nor one that was used just now goes."""

    async def registered() -> Collection[str]:
        return ("a",)

    async with installing(tmp_path) as each:
        archive = write(each, tmp_path, "first", "greeting", "1.0")
        model = await load(each.servers.models, archive, uid="a")
        await each.environments.sweep(nobody)
        assert len(each.made) == 1

        async def nobody_yet() -> Collection[str]:
            await (await load(each.servers.models, archive, uid="late")).unload()
            return ()

        await each.environments.sweep(nobody_yet)
        assert [user.name for user in (each.made[0] / "used-by").iterdir()] == ["late"]
        await model.unload()
        model = await load(each.servers.models, write(each, tmp_path, "first", "greeting", "1.0"), uid="a")
        await model.unload()
        await each.environments.sweep(registered)
        assert len(each.made) == 1
        await each.environments.sweep(nobody)
        assert each.made == []
    async with installing(tmp_path, keep_s=60) as each:
        archive = write(each, tmp_path, "first", "greeting", "1.0")
        await (await load(each.servers.models, archive, uid="a")).unload()
        await each.environments.sweep(nobody)
        (environment,) = each.made
        os.utime(environment / "used-by", (0, 0))
        await each.environments.sweep(nobody)
        assert each.made == []


@in_event_loop
async def test_environment_that_was_removed_is_made_again(tmp_path: Path) -> None:
    """When the next worker starts; one whose interpreter is gone counts as removed."""
    async with installing(tmp_path) as each:
        model = await load(each.servers.models, write(each, tmp_path, "first", "greeting", "1.0"))
        (environment,) = each.made
        (environment / "bin" / "python").unlink()
        await model.scale(2, 2)
        assert model.status.ready == 2
        assert each.made == [environment]
