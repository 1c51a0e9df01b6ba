"""Values counted by upper bounds, as Prometheus has them in histograms."""

import math
from bisect import bisect_left
from collections.abc import Sequence

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)
BATCH_SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)


class Distribution:
    """Counts values by upper bounds, as a Prometheus histogram does.

    Args:
        bounds: Upper bounds, inclusive, in ascending order.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    def copy(self) -> "Distribution":
        """Return what was counted until now."""
        copied = Distribution(self._bounds)
        copied._counts, copied.total = self._counts.copy(), self.total
        return copied

    def buckets(self) -> list[tuple[str, float]]:
        """Return each bound with how many values are not above it; the last bound is infinite."""
        buckets, count = [], 0
        for bound, own in zip((*self._bounds, math.inf), self._counts, strict=True):
            count += own
            buckets.append(("+Inf" if math.isinf(bound) else str(bound), float(count)))
        return buckets
