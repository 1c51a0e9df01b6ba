"""The exclusive use of a database file and of stores by one service.

Two services with one of them would undo each other's registrations under way and remove each other's downloads.
"""

import errno
import logging
import os
import socket
import time
import uuid
from pathlib import Path

from wfmgmt.deployment.database import registry_at_start
from wfmgmt.deployment.locks import LockFile
from wfmgmt.errors.commands import AlreadyInUse, ResourcesExhausted, SettingsInvalid
from wfmgmt.registry.schema import sqlite_file
from wfmgmt.settings import Settings

_log = logging.getLogger("wfmgmt.deployment")

#: Name of the lock file in a store; hidden, so that neither this service nor TorchServe takes it for an archive.
STORE_LOCK = ".wfmgmt.lock"
#: How often a service that may be dead is looked at.
_CLAIM_INTERVAL_S = 0.5
_READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})


def lock_instance(settings: Settings, *, wait_s: float = 0) -> LockFile:
    """Lock the instance, before anything in it is used.

    Raises:
        SettingsInvalid: Another service has it.
    """
    lock = LockFile(settings.run_folder / "deployment.lock")
    if not lock.acquire(wait_s=wait_s):
        raise SettingsInvalid(f"WFMGMT_INSTANCE: another service runs in {settings.instance}")
    return lock


def lock_database(settings: Settings, *, wait_s: float) -> list[LockFile]:
    """Lock the file of a SQLite database.

    Raises:
        AlreadyInUse: Another service has it.
    """
    file = sqlite_file(settings.database)
    if file is None:
        return []
    real = file.resolve()
    return _lock("WFMGMT_DATABASE_URL", real, real.with_name(f"{real.name}.lock"), wait_s)


def claim_database(settings: Settings) -> None:
    """Show in a PostgreSQL database that this service uses it, once no other one does.

    A service on another host that crashed is waited for: it is dead when it shows no sign of life for
    `FRESH_S`, and alive when it shows another one.

    Raises:
        AlreadyInUse: Another service uses it.
    """
    with registry_at_start(settings) as registry:
        first = other = registry.beat(holder_of(settings))
        while other is not None:
            if other != first:
                raise AlreadyInUse(f"WFMGMT_DATABASE_URL: another service uses the database: {other.holder}")
            time.sleep(_CLAIM_INTERVAL_S)
            other = registry.beat(holder_of(settings))


def holder_of(settings: Settings) -> str:
    """Return what the service of an instance is called in the database, the same after a restart."""
    path = settings.instance / "service.id"
    try:
        name = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        name = uuid.uuid4().hex[:12]
        path.write_text(f"{name}\n", encoding="ascii")
    return f"{settings.instance} on {socket.gethostname()} ({name})"


def lock_stores(settings: Settings, *, wait_s: float) -> list[LockFile]:
    """Lock the stores that can be written; into others nothing is downloaded, so they may be shared.

    Raises:
        AlreadyInUse: Another service has one of them.
    """
    locks: list[LockFile] = []
    seen = set()
    for setting, folder in (
        ("WFMGMT_WORKFLOW_STORE", settings.workflow_store),
        ("WFMGMT_MODEL_STORE", settings.model_store),
    ):
        found = folder.stat()
        if (found.st_dev, found.st_ino) not in seen:  # Both may be one folder.
            seen.add((found.st_dev, found.st_ino))
            locks += _lock(setting, folder, folder / STORE_LOCK, wait_s)
    return locks


def _lock(setting: str, what: Path, path: Path, wait_s: float) -> list[LockFile]:
    lock = LockFile(path)
    try:
        is_ours = lock.acquire(wait_s=wait_s)
    except OSError as error:
        if error.errno in _READ_ONLY and not os.access(path.parent, os.W_OK):
            return []
        if error.errno in _NO_LOCKS:
            _log.warning("%s: %s cannot be locked; no other service may use it", setting, what)
            return []
        kind = ResourcesExhausted if error.errno in ResourcesExhausted.ERRNOS else AlreadyInUse
        raise kind(f"{setting}: {path} cannot be locked: {error.strerror}") from error
    if not is_ours:
        raise AlreadyInUse(f"{setting}: another service uses {what}; each needs its own")
    return [lock]
