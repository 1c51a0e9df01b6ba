"""The interpreter of one model's workers: the service's own, or that of an environment with what its archive lists."""

import errno
import os
from collections.abc import Sequence

from wfmgmt.domain.faults import Fault
from wfmgmt.domain.requirements import ModelRequirements, RequirementsInvalid, missing_libraries
from wfmgmt.serving.models.base import Model, ModelNotLoaded
from wfmgmt.serving.models.local.environments import Environments
from wfmgmt.serving.models.local.forkserver_client import ForkserverClient
from wfmgmt.serving.models.local.forkserver_process import ForkserverNotStarted, PreloadFailed
from wfmgmt.serving.models.local.installer import InstallFailed
from wfmgmt.serving.models.local.libraries import explain_import, requirements_file
from wfmgmt.serving.models.local.trees import BlockingWork, UnpackedTree
from wfmgmt.serving.models.local.worker_process import WorkerProcess


class ModelInterpreter:
    """Where the workers of one model come from; satisfies `worker_start.Forks`. For the event loop only.

    Args:
        model: Whose workers.
        tree: Its unpacked archive.
        forkserver: That of the service's own interpreter.
        environments: Those of the libraries that archives list; None when nothing is to be installed.
        policy: What is done with these libraries.
        work: Where files are read.
    """

    def __init__(
        self,
        model: Model,
        tree: UnpackedTree,
        *,
        forkserver: ForkserverClient,
        environments: Environments | None,
        policy: ModelRequirements,
        work: BlockingWork,
    ) -> None:
        self._model = model
        self._tree = tree
        self._forkserver = forkserver
        self._environments = environments
        self._policy = policy
        self._work = work
        self._libraries: Sequence[str] | None = None
        self._environment: str | None = None

    async def ensure(self) -> None:
        """Return when there is an interpreter that has the libraries: install them now where there is none.

        The tree has to be unpacked.

        Raises:
            ModelNotLoaded: They cannot be installed.
        """
        if self._environments is None:
            return
        if self._libraries is None:
            self._libraries = await self._work.run(self._read_libraries)
        if not self._libraries:
            return
        model = self._model
        try:
            digest = await self._environments.ensure(self._libraries, uid=model.key.uid, log_fields=model.log_fields)
        except InstallFailed as exc:
            reason = f"the libraries that {model.archive.name} lists cannot be installed: {exc.reason}"
            full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) if exc.is_out_of_space else None
            raise ModelNotLoaded(model.node, reason, Fault.FILE) from full
        if self._environment is None:
            self._forkserver = self._environments.take(digest)
            self._environment = digest

    async def fork(self, *, workflow: str, node: str) -> WorkerProcess:
        """Start one worker; see `ForkserverClient.fork`."""
        try:
            return await self._forkserver.fork(workflow=workflow, node=node)
        except ForkserverNotStarted as exc:
            if self._environment is None:
                raise
            with_what = f"with the libraries that {self._model.archive.name} lists"
            raise PreloadFailed(f"the interpreter {with_what} does not start; the log has what it printed") from exc

    async def release(self) -> None:
        """Need no interpreter any more. Idempotent."""
        environment, self._environment = self._environment, None
        if self._environments is not None and environment is not None:
            await self._environments.give_back(environment)

    def explain_import(self, lacks_module: bool) -> str:  # noqa: FBT001 - it has one argument
        """Return what to do about an import that failed; see `libraries.explain_import`."""
        file = requirements_file(self._tree.folder, self._tree.description)
        return explain_import(file, self._policy, lacks_module=lacks_module)

    def _read_libraries(self) -> Sequence[str]:
        """Return what has to be installed: nothing when all that is listed is there; this reads files.

        Raises:
            ModelNotLoaded: The file cannot be understood.
        """
        file = requirements_file(self._tree.folder, self._tree.description)
        if file is None:
            return ()
        try:
            libraries = file.libraries(for_install=True)
        except RequirementsInvalid as exc:
            raise ModelNotLoaded(self._model.node, f"{self._model.archive.name}: {exc}", Fault.FILE) from exc
        return libraries if missing_libraries(libraries) else ()
