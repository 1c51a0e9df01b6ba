"""Virtual environments with the libraries that archives list, and the forkservers of their interpreters."""

import asyncio
import errno
import hashlib
import logging
import os
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from wfmgmt.domain.requirements import FILE_NAME
from wfmgmt.errors import WfmgmtError
from wfmgmt.folders import ensure_folder, remove_folder
from wfmgmt.serving.models.local.forkserver_client import ForkserverClient, WorkerEnvironment
from wfmgmt.serving.models.local.installer import Installer, InstallFailed

#: Begins the names of folders that are no environments: those that are being made, and those that are being removed.
UNFINISHED = "."
SWEEP_INTERVAL_S = 60.0
#: In each environment, the folder with an empty file for each registration that uses it, by its identity.
_USERS, _TEMPORARY = "used-by", "tmp"
_DIGEST_CHARS = 32
#: A script that an interpreter runs has its path at the beginning.
_SCRIPT_BYTES = 64 * 1024

_logger = logging.getLogger("wfmgmt.runtime")


@dataclass(slots=True)
class _Installation:
    """An installation that is under way.

    Attributes:
        task: Makes the environment.
        waiting: How many models wait for it; without any it is given up.
    """

    task: asyncio.Task[None]
    waiting: int = 0


@dataclass(slots=True)
class _SharedForkserver:
    """The forkserver of an environment.

    Attributes:
        client: Has it fork workers.
        users: How many models have their workers from it.
    """

    client: ForkserverClient
    users: int = 0


class Environments:
    """Environments that all models which list the same libraries share. For the event loop only.

    Each is made aside and renamed when it is whole, so what has the name of an environment is one. No lock is held
    meanwhile: only models that list the same libraries wait. It is kept as long as a registration that uses it exists,
    and for a while after that.

    Args:
        folder: Where they are.
        installer: Makes them.
        make_forkserver: Returns a client for the forkserver of the environment in a folder.
        keep_s: How long one stays that no registration uses.
    """

    def __init__(
        self,
        folder: Path,
        *,
        installer: Installer,
        make_forkserver: Callable[[Path], ForkserverClient],
        keep_s: float,
    ) -> None:
        self._folder = folder
        self._installer = installer
        self._make_forkserver = make_forkserver
        self._keep_s = keep_s
        self._installations: dict[str, _Installation] = {}
        self._forkservers: dict[str, _SharedForkserver] = {}

    async def ensure(self, libraries: Collection[str], *, uid: str, log_fields: Mapping[str, str]) -> str:
        """Return the digest of the environment with these libraries, which is made now if there is none.

        Args:
            libraries: The lines of a requirements file, in order.
            uid: The registration that uses it from now on.
            log_fields: What the log lines name: workflow, version and node.

        Raises:
            InstallFailed: It could not be made; nothing of it is left.
        """
        digest = _digest(libraries)
        folder = self._folder / digest
        try:
            while not await asyncio.to_thread(_use, folder, uid):
                installation = self._installations.get(digest)
                if installation is None:
                    work = self._install(folder, libraries, log_fields)
                    installation = self._installations[digest] = _Installation(asyncio.create_task(work))
                await self._wait(digest, installation)
        except OSError as exc:
            is_full = exc.errno in {errno.ENOSPC, errno.EDQUOT}
            raise InstallFailed(f"no environment can be made: {exc.strerror}", is_out_of_space=is_full) from exc
        except RuntimeError as exc:  # The system allows no thread.
            raise InstallFailed(f"no environment can be made now: {exc}") from exc
        return digest

    async def _wait(self, digest: str, installation: _Installation) -> None:
        """Wait for an installation; the last one who stops waiting ends it."""
        installation.waiting += 1
        try:
            await asyncio.shield(installation.task)
        finally:
            installation.waiting -= 1
            if installation.task.done() or not installation.waiting:
                installation.task.cancel()
                if self._installations.get(digest) is installation:
                    del self._installations[digest]

    async def _install(self, folder: Path, libraries: Collection[str], log_fields: Mapping[str, str]) -> None:
        part, began = _hidden_beside(folder), time.monotonic()
        _logger.info("installing libraries: %s", ", ".join(libraries), extra=log_fields)
        try:
            await asyncio.to_thread(_begin, part, libraries)
            await self._installer.install(part, log_fields)
            await asyncio.to_thread(_finish, part, folder)
        finally:
            await asyncio.to_thread(remove_folder, part)
        _logger.info("installed libraries in %.1f s", time.monotonic() - began, extra=log_fields)

    def take(self, digest: str) -> ForkserverClient:
        """Return the client of an environment's forkserver; `give_back` has to follow."""
        shared = self._forkservers.get(digest)
        if shared is None:
            shared = self._forkservers[digest] = _SharedForkserver(self._make_forkserver(self._folder / digest))
        shared.users += 1
        return shared.client

    async def give_back(self, digest: str) -> None:
        """Release the forkserver of an environment, which ends when its last user has done so."""
        shared = self._forkservers[digest]
        shared.users -= 1
        if not shared.users:
            del self._forkservers[digest]
            await shared.client.close()

    async def keep_swept(self, registered: Callable[[], Awaitable[Collection[str]]]) -> None:
        """Remove environments that no registration has used for a while, again and again, for ever.

        Args:
            registered: Returns the identities of all registrations. It is called only while there are environments.
        """
        while True:
            try:
                await self.sweep(registered)
            except (WfmgmtError, OSError, RuntimeError) as error:
                _logger.warning("unused environments stay for now: %s", error)
            await asyncio.sleep(SWEEP_INTERVAL_S)

    async def sweep(self, registered: Callable[[], Awaitable[Collection[str]]]) -> None:
        """Remove the environments that no registration has used for a while."""
        environments = await asyncio.to_thread(_environments, self._folder)
        uids = await registered() if environments else ()  # Read last: a user that comes meanwhile is not removed.
        for folder, users in environments.items():
            idle_s = await asyncio.to_thread(_idle_s, folder, users.difference(uids))
            if idle_s is None or idle_s < self._keep_s or folder.name in self._forkservers:
                continue
            if await asyncio.to_thread(_remove_unused, folder):
                _logger.info("removed an environment that nothing uses: %s", folder.name)

    async def close(self) -> None:
        """End all forkservers and installations. Idempotent."""
        tasks = {each.task for each in self._installations.values()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        clients = [each.client for each in self._forkservers.values()]
        self._forkservers.clear()
        await asyncio.gather(*(client.close() for client in clients))


def _digest(libraries: Collection[str]) -> str:
    """Return what identifies an environment: its libraries, and the interpreter whose packages lie below it."""
    content = "\n".join((sys.version, sys.prefix, *libraries))
    return hashlib.sha256(content.encode()).hexdigest()[:_DIGEST_CHARS]


def environment_of(folder: Path, base: WorkerEnvironment) -> WorkerEnvironment:
    """Return what the workers of a virtual environment inherit, from what those of the service inherit."""
    variables = dict(base.environment or {})
    variables |= {"VIRTUAL_ENV": str(folder), "PATH": f"{folder / 'bin'}:{variables.get('PATH', os.defpath)}"}
    # Without -P the packages of the service, among which ours lies, would come before those of the environment.
    return replace(base, interpreter=(str(_python_of(folder)), "-P"), environment=variables)


def _python_of(folder: Path) -> Path:
    return folder / "bin" / "python"


def _use(folder: Path, uid: str) -> bool:
    """Record that a registration uses an environment; return whether there is one."""
    try:
        (folder / _USERS / uid).touch()
    except FileNotFoundError:
        return False
    return _python_of(folder).exists()


def _begin(part: Path, libraries: Collection[str]) -> None:
    """Make a folder in which an environment can be made."""
    ensure_folder(part.parent)
    for folder in (part, part / _USERS, part / _TEMPORARY):
        folder.mkdir(mode=0o700)
    (part / FILE_NAME).write_text("".join(f"{line}\n" for line in libraries), encoding="utf-8")


def _finish(part: Path, folder: Path) -> None:
    """Give an environment that is whole its name; what has it already is broken, and goes."""
    remove_folder(part / _TEMPORARY)
    for script in part.joinpath("bin").iterdir():
        if not script.is_symlink() and script.stat().st_size <= _SCRIPT_BYTES:
            script.write_bytes(script.read_bytes().replace(os.fsencode(part), os.fsencode(folder)))
    os.sync()  # Once it has its name it is taken for whole, also after a power cut.
    if os.path.lexists(folder):
        remove_folder(folder.rename(_hidden_beside(folder)))
    part.rename(folder)


def _hidden_beside(folder: Path) -> Path:
    """Return a name that is no environment's."""
    return folder.with_name(f"{UNFINISHED}{uuid.uuid4().hex}")


def _environments(folder: Path) -> dict[Path, frozenset[str]]:
    """Return all environments that are whole, each with the registrations that have used it."""
    try:
        whole = [each for each in folder.iterdir() if not each.name.startswith(UNFINISHED) and (each / _USERS).is_dir()]
    except FileNotFoundError:
        return {}
    return {each: frozenset(os.listdir(each / _USERS)) for each in whole}  # noqa: PTH208 - only names are of interest


def _idle_s(folder: Path, gone: Collection[str]) -> float | None:
    """Return for how long no registration has used an environment, None when one does.

    The time of the folder of its users is that of the last one who came or went.

    Args:
        folder: The environment.
        gone: Users of it that are no registrations any more.
    """
    users = folder / _USERS
    for uid in gone:
        (users / uid).unlink(missing_ok=True)
    return None if any(users.iterdir()) else time.time() - users.stat().st_mtime


def _remove_unused(folder: Path) -> bool:
    """Remove an environment, unless a model has begun to use it meanwhile; return whether it is gone."""
    aside = folder.rename(_hidden_beside(folder))
    if any((aside / _USERS).iterdir()):
        aside.rename(folder)
        return False
    remove_folder(aside)
    return True
