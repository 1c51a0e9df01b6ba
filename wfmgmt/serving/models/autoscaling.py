"""Workers that come and go by need: when they may, and the record of each time that they did."""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from wfmgmt.domain.releases import FIRST_VERSION

#: A refusal is logged at most this often per node and reason; all are counted.
LOGGED_EVERY_S = 60.0

_log = logging.getLogger("wfmgmt.autoscaling")


class AutoscaleMode(StrEnum):
    """When workers above the minimum come."""

    #: While a core is free, or the workers wait rather than compute.
    CORES = "cores"
    #: Whenever requests wait for long enough.
    ALWAYS = "always"
    OFF = "off"


class ScalingReason(StrEnum):
    """Why the number of workers changed by itself, or did not."""

    #: There was none, and one is needed.
    NO_WORKER = "no_worker"
    FREE_CORE = "free_core"
    #: The workers wait for something else than a core.
    WAITING = "waiting"
    #: More are allowed without a look at the cores.
    ALWAYS = "always"
    IDLE = "idle"
    NO_FREE_CORE = "no_free_core"
    #: More are not allowed.
    OFF = "off"
    #: All workflows together have as many as they may.
    MAX_WORKERS = "max_workers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Autoscaling:
    """The settings that all models share.

    Attributes:
        mode: When workers above the minimum come.
        on_scaled: Called with workflow, node, direction (`up`, `down` or `refused`) and reason.
    """

    mode: AutoscaleMode = AutoscaleMode.CORES
    on_scaled: Callable[[str, str, str, str], None] = lambda _workflow, _node, _direction, _reason: None


class ScalingLog:
    """Logs and counts how the workers of one node come and go by need.

    Args:
        workflow: Its workflow.
        node: The node.
        settings: What holds for all models.
        clock: Seconds that only go forward.
        version: Which version of the workflow it is in.
    """

    def __init__(
        self,
        workflow: str,
        node: str,
        settings: Autoscaling,
        clock: Callable[[], float] = time.monotonic,
        *,
        version: str = FIRST_VERSION,
    ) -> None:
        self._workflow = workflow
        self._version = version
        self._node = node
        self._on_scaled = settings.on_scaled
        self._clock = clock
        self._refused_at: dict[ScalingReason, float] = {}

    def record(self, before: int, after: int, reason: ScalingReason, why: str) -> None:
        """Record a change of the number of workers."""
        self._on_scaled(self._workflow, self._node, "up" if after > before else "down", reason.value)
        self._info(f"autoscaled from {before} to {after} workers: {why}")

    def record_refusal(self, reason: ScalingReason, why: str) -> None:
        """Record that requests wait and yet there are no more workers."""
        self._on_scaled(self._workflow, self._node, "refused", reason.value)
        now = self._clock()
        if now - self._refused_at.get(reason, -math.inf) >= LOGGED_EVERY_S:
            self._refused_at[reason] = now
            self._info(f"not autoscaled: {why}")

    def _info(self, text: str) -> None:
        _log.info("%s", text, extra={"workflow": self._workflow, "version": self._version, "node": self._node})
