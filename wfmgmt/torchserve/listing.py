"""The workflows of one TorchServe, for a command that waits for each response."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from wfmgmt.errors import BadRequest
from wfmgmt.timeouts import timeout_after
from wfmgmt.torchserve.connection import ServerAddress, TorchServe, open_session, trusting
from wfmgmt.torchserve.failures import foreign_errors_mapped
from wfmgmt.torchserve.keys import Keys
from wfmgmt.torchserve.responses import Figures, Listed

_T = TypeVar("_T")


class TorchServeListing:
    """Blocking calls of a TorchServe; satisfies `wfmgmt.services.torchserve_import.WorkflowListing`.

    It changes nothing there: it asks for no new key, since that would make the one before it invalid.

    Args:
        url: The management address, without credentials; a path in it goes before `/workflows`.
        authorization: What a proxy before the server wants as that header, unless a key takes its place.
        key_file: TorchServe's `key_file.json`; None when it was started without token authorization.
        ca_bundle: File of the certificates to trust; None for the system's.
        timeout_s: Time for all pages of the list together, and for each description.

    Raises:
        BadRequest: A file is not what it should be.
    """

    def __init__(
        self,
        url: str,
        *,
        authorization: str | None = None,
        key_file: Path | None = None,
        ca_bundle: Path | None = None,
        timeout_s: float = 30.0,
    ) -> None:
        self._headers = {} if authorization is None else {"Authorization": authorization}
        keys = Keys(key_file, are_renewed=False)
        self._address = ServerAddress(management_url=url.rstrip("/"), keys=keys)
        self._ca_bundle = ca_bundle
        self._timeout_s = timeout_s
        if key_file is not None and "management" not in keys.current:
            raise BadRequest(f"The key file {key_file} cannot be read, or has no management key.")
        if ca_bundle is not None:
            trusting(ca_bundle)

    def workflows(self) -> list[Listed]:
        """Return all workflows in the order of the list, each name once.

        Raises:
            ServerFailed: They could not be had whole, in time and within the limits.
        """
        return self._run(TorchServe.workflows)

    def figures(self, workflow: str) -> Figures:
        """Return what is said about a workflow; what is left out there is left out here.

        Raises:
            ServerFailed: It could not be had whole, in time and within the limits.
        """
        return self._run(lambda server: server.figures(workflow))

    def _run(self, ask: Callable[[TorchServe], Awaitable[_T]]) -> _T:
        async def run() -> _T:
            async with open_session(self._ca_bundle, self._timeout_s, self._headers) as session:
                server = TorchServe(session, self._address, timeout_s=self._timeout_s)
                with foreign_errors_mapped(server.name, self._timeout_s):
                    async with timeout_after(self._timeout_s):
                        return await ask(server)

        return asyncio.run(run())
