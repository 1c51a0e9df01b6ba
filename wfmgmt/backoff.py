"""Growing pauses between attempts of something that keeps failing."""

import math
import time
from collections.abc import Callable


class Backoff:
    """Pauses that double from a first one to a longest one, until they are reset.

    Args:
        first_s: The first pause.
        max_s: The longest one.
        steady_s: What worked for so long before it failed begins with the first pause again.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        first_s: float,
        max_s: float,
        *,
        steady_s: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._first_s = first_s
        self._max_s = max_s
        self._steady_s = steady_s
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """End the pause, and begin with the first one again: an attempt succeeded."""
        self._next_s = min(self._first_s, self._max_s)
        self._until = -math.inf

    def next_pause(self, *, worked_s: float = 0.0) -> float:
        """Begin the next pause now, since an attempt failed, and return its seconds.

        Args:
            worked_s: For how long what failed now had worked.
        """
        if worked_s >= self._steady_s:
            self.reset()
        pause_s = self._next_s
        self._until = self._clock() + pause_s
        self._next_s = min(2 * pause_s, self._max_s)
        return pause_s

    @property
    def is_pausing(self) -> bool:
        """Whether the pause that was begun last goes on."""
        return self._clock() < self._until
