"""Errors that end a start of the service, another command, or work in the background; no request meets them.

WfmgmtError
├── CannotStart                 the service must not start like this
│   ├── SettingsInvalid         a setting is unknown or has a wrong value
│   ├── DatabaseUnusable        the database is corrupt, read-only or from a newer version
│   ├── AlreadyInUse            another service has the database or a store
│   └── ResourcesExhausted      the host lacks space, processes or open files for now
├── ArchivingRefused            rows of the audit trail cannot be archived there
├── NotAnchored                 a checkpoint of the audit trail cannot be made or written now
│   └── TrailContradicted       the audit trail is not what the last checkpoint says
├── BackupRefused               a backup cannot be written or restored there
└── NotImported                a workflow of a TorchServe that cannot be imported as it is
"""

import errno

from wfmgmt.errors import WfmgmtError


class CannotStart(WfmgmtError):
    """The service must not start like this.

    Attributes:
        exit_code: What the process exits with.
    """

    exit_code = 2


class SettingsInvalid(CannotStart):
    """A setting is unknown or has a wrong value."""


class DatabaseUnusable(CannotStart):
    """The database is corrupt, read-only or was written by a newer version."""

    exit_code = 3


class AlreadyInUse(CannotStart):
    """Another service has the database or a store."""

    exit_code = 3


class ResourcesExhausted(CannotStart):
    """The host lacks space, processes or open files, or the database server does not answer; another start may work.

    Attributes:
        ERRNOS: How the operating system says so.
    """

    exit_code = 75  # EX_TEMPFAIL of sysexits.h
    ERRNOS = frozenset(
        {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE}
    )


class ArchivingRefused(WfmgmtError):
    """Rows of the audit trail cannot be archived there."""


class NotAnchored(WfmgmtError):
    """A checkpoint of the audit trail cannot be made or written now; it is tried again.

    Attributes:
        outcome: What metrics call it.
    """

    outcome = "failed"


class TrailContradicted(NotAnchored):
    """The audit trail is not what the last checkpoint says."""

    outcome = "contradicted"


class BackupRefused(WfmgmtError):
    """A backup cannot be written or restored there."""


class NotImported(WfmgmtError):
    """A workflow of a TorchServe cannot be imported as it is."""
