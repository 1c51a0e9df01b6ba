"""The decision whether a pool whose requests wait gets one more worker."""

import asyncio
from collections.abc import Callable, Collection
from typing import NamedTuple

from wfmgmt.serving.models.autoscaling import AutoscaleMode, ScalingLog, ScalingReason
from wfmgmt.serving.models.local.core_use import CoreUse

#: A pool gets one more worker when requests have waited for so long that more than chance is at work.
GROW_AFTER_S = 0.05
#: After a refusal the cores are measured for so long before the next decision.
LOOK_AGAIN_S = 0.5


class Verdict(NamedTuple):
    """Whether one more worker comes.

    Attributes:
        comes: Whether it does.
        reason: Why.
        why: The same for people.
    """

    comes: bool
    reason: ScalingReason
    why: str


#: What holds while there is no worker at all.
NO_WORKER = Verdict(comes=True, reason=ScalingReason.NO_WORKER, why="a request waits and there was no worker")


class Growth:
    """Watches one pool whose requests wait, and has it grow when that helps. For the event loop only.

    Args:
        mode: When workers above the minimum come.
        core_use: Measures the cores.
        busy: Returns the processes of the pool's workers that have something to do.
        waited_s: Returns for how long requests have waited for which the pool could start one more worker; None when
            there are none, or it could not.
        grow: Starts one.
        scalings: Takes refusals.
    """

    def __init__(
        self,
        *,
        mode: AutoscaleMode,
        core_use: CoreUse,
        busy: Callable[[], Collection[int]],
        waited_s: Callable[[], float | None],
        grow: Callable[[Verdict], None],
        scalings: ScalingLog,
    ) -> None:
        self._mode = mode
        self._core_use = core_use
        self._busy = busy
        self._waited_s = waited_s
        self._grow = grow
        self._scalings = scalings
        self._timer: asyncio.TimerHandle | None = None
        core_use.busy.add(busy)

    def watch(self) -> None:
        """Look in a moment whether requests still wait, unless that is under way."""
        if self._timer is None:
            self._look_in(GROW_AFTER_S)

    def _look_in(self, delay_s: float) -> None:
        """Measure the cores until then."""
        self._before = self._core_use.sample()
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._look)

    def _look(self) -> None:
        self._timer = None
        waited_s = self._waited_s()
        if waited_s is None:
            return  # The next request that has to wait asks again, and a worker that comes up looks at the queue.
        if waited_s < GROW_AFTER_S:
            self._look_in(GROW_AFTER_S)
            return
        verdict = self._verdict(f"requests have waited for {waited_s:.2f} s")
        if verdict.comes:
            self._grow(verdict)
        else:
            self._scalings.record_refusal(verdict.reason, verdict.why)
            self._look_in(LOOK_AGAIN_S)

    def _verdict(self, waited: str) -> Verdict:
        if self._mode is AutoscaleMode.OFF:
            return Verdict(comes=False, reason=ScalingReason.OFF, why=f"{waited}, and WFMGMT_AUTOSCALE is off")
        if self._mode is AutoscaleMode.ALWAYS:
            return Verdict(comes=True, reason=ScalingReason.ALWAYS, why=waited)
        use = self._core_use.since(self._before, self._busy())
        of_cores = f"{use.service:.1f} of {use.cores} in use"
        if use.is_core_free:
            return Verdict(comes=True, reason=ScalingReason.FREE_CORE, why=f"{waited}, and a core is free ({of_cores})")
        if use.are_waiting:
            why = f"{waited}, and its workers wait rather than compute ({use.per_worker:.1f} cores each)"
            return Verdict(comes=True, reason=ScalingReason.WAITING, why=why)
        why = f"{waited}, but no core is free ({of_cores})"
        return Verdict(comes=False, reason=ScalingReason.NO_FREE_CORE, why=why)

    def close(self) -> None:
        """Watch no more."""
        if self._timer is not None:
            self._timer.cancel()
        self._core_use.busy.discard(self._busy)
