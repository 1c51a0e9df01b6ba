"""Titles of our processes, as `ps` and `top -c` show them."""

from setproctitle import setproctitle


def set_title(what: str, instance: str) -> None:
    """Give this process a title: what it does, and last, where a narrow list cuts it off, whose it is.

    The title takes the place of the command line and of the environment that the process was started with: both are
    overwritten in `/proc`, the environment variables stay as they are.

    Args:
        what: Like `worker seq/2.0/sentiment`.
        instance: Folder of the service; empty for a process of none.
    """
    setproctitle(f"wfmgmt {what} [{instance}]" if instance else f"wfmgmt {what}")
