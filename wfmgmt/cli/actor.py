"""The name under which commands are recorded in the audit trail."""

import getpass
import os

from wfmgmt.domain.audit import Origin


def command_origin() -> Origin:
    """Return who runs this command: `cli:<user>`, or the number of a user who has no name."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return Origin(actor=f"cli:{user}")
