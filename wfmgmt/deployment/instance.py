"""The folders of an instance, private to the user of the service, and the lock of its runtime."""

from wfmgmt.archives.signatures import Signers
from wfmgmt.deployment.locks import LockFile
from wfmgmt.errors.commands import ResourcesExhausted, SettingsInvalid
from wfmgmt.services.anchor_keys import SigningKey
from wfmgmt.services.anchors import make_anchor
from wfmgmt.settings import Settings

#: What new files and folders of the service let others do: nothing.
PRIVATE_UMASK = 0o077


def prepare_instance(settings: Settings) -> None:
    """Create the folders that the server writes to.

    Raises:
        SettingsInvalid: A folder cannot be created.
        ResourcesExhausted: There is no space for it.
    """
    try:
        for folder in (settings.instance, settings.workflow_store, settings.model_store):
            folder.mkdir(parents=True, exist_ok=True)
        settings.run_folder.mkdir(mode=0o700, exist_ok=True)
        settings.run_folder.chmod(0o700)
        settings.archives_folder.mkdir(mode=0o700, exist_ok=True)
        for name in ("leases", "metrics"):
            (settings.run_folder / name).mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        kind = ResourcesExhausted if error.errno in ResourcesExhausted.ERRNOS else SettingsInvalid
        raise kind(f"cannot create {error.filename}: {error.strerror}") from error


def check_signers(settings: Settings) -> None:
    """Check that signatures of archives can be checked, if they have to be.

    Raises:
        SettingsInvalid: They cannot.
    """
    if settings.signers is not None:
        Signers(settings.signers).check_usable()


def check_anchor(settings: Settings, origin: str | None) -> None:
    """Check that checkpoints of the audit trail can be made, if they have to be.

    Args:
        settings: The settings in force.
        origin: Identity of the installation; None when it has none yet.

    Raises:
        SettingsInvalid: They cannot.
    """
    if settings.audit_key is not None:
        SigningKey(settings.audit_key).check_usable()
    if settings.audit_anchor:
        make_anchor(settings.audit_anchor, allowed_urls=settings.allowed_urls).check_usable(origin)


def runtime_lock(settings: Settings) -> LockFile:
    """Return the lock that the runtime of an instance holds."""
    return LockFile(settings.run_folder / "runtime.lock")
