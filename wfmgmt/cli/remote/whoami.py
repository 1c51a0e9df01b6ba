"""`wfmgmt whoami`."""

from typing import Any

from wfmgmt.cli.remote.command import RemoteCommand
from wfmgmt.cli.remote.text import properties
from wfmgmt.client import token_calls
from wfmgmt.client.tokens import Caller


def _show(caller: Caller) -> str:
    return properties(
        actor=caller.actor,
        role=caller.role or "none",
        workflows=" ".join(caller.workflows),
        expires="never" if caller.expires_at is None else f"{caller.expires_at:%Y-%m-%d %H:%M}",
    )


COMMANDS: dict[str, RemoteCommand[Any]] = {
    "whoami": RemoteCommand(
        arguments=lambda _: None,
        call=lambda _: token_calls.whoami(),
        show=lambda _, caller: _show(caller),
        names=lambda _, caller: [caller.actor],
    ),
}
