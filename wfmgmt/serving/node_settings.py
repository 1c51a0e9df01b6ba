"""The settings of the nodes of a loaded version, carried from what is wanted to what is in force."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from wfmgmt.backoff import Backoff
from wfmgmt.domain.workflow import Node, NodeSettings
from wfmgmt.serving.models.base import ModelNotChanged, ModelNotLoaded
from wfmgmt.serving.models.protocol import LoadedModel

#: After settings that could not be put in force, the wait before the next attempt doubles between these.
FIRST_RETRY_S, MAX_RETRY_S = 1.0, 300.0


class SettingsFollower:
    """Puts changed settings of nodes in force; what is as it should be is not touched. For the event loop only.

    Args:
        models: The models of the nodes.
        nodes: The nodes with the settings that they were loaded with.
        set_retries: Called with a node and the number of its further attempts.
        on_change: Called when settings came into force, or could not.
    """

    def __init__(
        self,
        models: Mapping[str, LoadedModel],
        nodes: Iterable[Node],
        *,
        set_retries: Callable[[str, int], None],
        on_change: Callable[[], None],
    ) -> None:
        self._models = models
        self._applied = {node.name: node.settings for node in nodes}
        self._wanted = dict(self._applied)
        self._problems: dict[str, str] = {}
        #: The revision with which the settings came that are wanted of each node.
        self._since: dict[str, int] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._set_retries = set_retries
        self._on_change = on_change

    def has_reached(self, revision: int) -> bool:
        """Return whether all settings are in force that came with a revision or later."""
        return all(
            self._applied[node] == self._wanted[node] for node, since in self._since.items() if since >= revision
        )

    def problem(self, revision: int) -> str:
        """Return why they are not, in one line; empty while nothing has gone wrong."""
        reasons = self._problems.items()
        return "; ".join(f"{node}: {reason}" for node, reason in reasons if self._since[node] >= revision)

    def follow(self, nodes: Iterable[Node], revision: int) -> None:
        """Begin to put settings in force that are other than those that were wanted last.

        Args:
            nodes: The nodes.
            revision: The revision that was read; settings that are new came with it.
        """
        for node in nodes:
            if self._wanted[node.name] != node.settings:
                self._wanted[node.name] = node.settings
                self._since[node.name] = revision
                self._problems.pop(node.name, None)
                earlier = self._tasks.get(node.name)
                self._tasks[node.name] = asyncio.create_task(self._carry(node.name, earlier))

    async def _carry(self, node: str, earlier: asyncio.Task[None] | None) -> None:
        """Put the settings of one node in force, again and again until that works."""
        if earlier is not None:
            earlier.cancel()
            await asyncio.wait([earlier])
        backoff = Backoff(FIRST_RETRY_S, MAX_RETRY_S)
        while self._applied[node] != self._wanted[node]:
            try:
                await self._apply(node, self._wanted[node])
            except ModelNotChanged as error:
                self._problems[node] = error.reason
                break
            except ModelNotLoaded as error:
                self._problems[node] = error.reason
                self._on_change()
                await asyncio.sleep(backoff.next_pause())
            else:
                self._problems.pop(node, None)
        self._on_change()

    async def _apply(self, node: str, wanted: NodeSettings) -> None:
        held, model = self._applied[node], self._models[node]
        unscaled = replace(wanted, min_workers=held.min_workers, max_workers=held.max_workers)
        if replace(unscaled, retry_attempts=held.retry_attempts) != held:
            await model.change(wanted)
        if wanted.retry_attempts != held.retry_attempts:
            self._set_retries(node, wanted.retry_attempts)
        self._applied[node] = unscaled
        if unscaled != wanted:
            await model.scale(wanted.min_workers, wanted.max_workers)
        self._applied[node] = wanted

    async def close(self) -> None:
        """End what is under way."""
        for task in self._tasks.values():
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks.values())
