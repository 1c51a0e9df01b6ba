"""Requests to each version, counted by the reason why it got them: in all, and in the last minute, as for nodes."""

import math
from collections.abc import Mapping, Sequence
from typing import Self

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

from wfmgmt.control.messages import TrafficFigures, TrafficKind
from wfmgmt.serving.distributions import SECONDS, Distribution

#: Times are counted by powers of this, so a quantile is off by half of a tenth at most.
_STEP = math.log(1.1)
#: From this one on; shorter times are counted with it.
_SHORTEST_S = 1e-5
#: The last minute is known to one of its parts.
MINUTE_S, _PART_S = 60.0, 5.0
_MIN_SERVER_ERROR = 500
_LABELS = ("workflow", "version", "kind")


class Totals:
    """Requests that were answered until a moment, and how long they took.

    Attributes:
        requests: How many.
        failures: How many of them failed.
        bins: How many of them took about how long, by the number of that time.
    """

    __slots__ = ("bins", "failures", "requests")

    def __init__(self) -> None:
        self.requests = self.failures = 0
        self.bins: dict[int, int] = {}

    def add(self, took_s: float, *, is_failure: bool) -> None:
        """Count one request."""
        self.requests += 1
        self.failures += is_failure
        number = 0 if took_s <= _SHORTEST_S else int(math.log(took_s / _SHORTEST_S) / _STEP)
        bins = self.bins
        bins[number] = bins.get(number, 0) + 1

    def include(self, others: "Totals") -> None:
        """Count other requests, too."""
        self.requests += others.requests
        self.failures += others.failures
        for number, count in others.bins.items():
            self.bins[number] = self.bins.get(number, 0) + count

    def copy(self) -> Self:
        """Return what was counted until now."""
        return self.since(type(self)())

    def since(self, earlier: "Totals") -> Self:
        """Return what was counted since an earlier copy."""
        left = type(self)()
        left.requests, left.failures = self.requests - earlier.requests, self.failures - earlier.failures
        left.bins = {number: count - earlier.bins.get(number, 0) for number, count in self.bins.items()}
        return left

    def quantile_ms(self, part: float) -> float | None:
        """Return the time that a part of the requests took at most; None without any."""
        wanted, seen = part * self.requests, 0
        for number, count in sorted(self.bins.items()):
            seen += count
            if count and seen >= wanted:
                return round(1000 * _SHORTEST_S * math.exp((number + 0.5) * _STEP), 3)
        return None

    def figures(self) -> TrafficFigures:
        """Return what clients are shown."""
        return TrafficFigures(
            requests=self.requests,
            failures=self.failures,
            p50_ms=self.quantile_ms(0.5),
            p99_ms=self.quantile_ms(0.99),
        )


class LastMinute:
    """Requests of the last minute, counted in parts of it. For the event loop only."""

    __slots__ = ("_number", "_part", "_parts")

    def __init__(self) -> None:
        #: Those in which there were any requests, by number.
        self._parts: dict[float, Totals] = {}
        self._number, self._part = -1.0, Totals()

    def record(self, now: float, took_s: float, *, is_failure: bool) -> None:
        """Count one request that was answered, or could not be."""
        number = now // _PART_S
        if number != self._number:
            self._number, self._part = number, Totals()
            self._parts = {**self._since(now), number: self._part}
        self._part.add(took_s, is_failure=is_failure)

    def figures(self, now: float) -> TrafficFigures:
        """Return what clients are shown."""
        last = Totals()
        for totals in self._since(now).values():
            last.include(totals)
        return last.figures()

    def _since(self, now: float) -> dict[float, Totals]:
        """Return the parts that are not older than a minute."""
        first = (now - MINUTE_S) // _PART_S + 1
        return {number: totals for number, totals in self._parts.items() if number >= first}


class Traffic:
    """Requests that one version got for one reason. For the event loop only, but for copies.

    Attributes:
        totals: All of them.
        seconds: How long they took, for Prometheus.
        last_minute: Those of the last minute; empty in a copy.
    """

    __slots__ = ("last_minute", "seconds", "totals")

    def __init__(self) -> None:
        self.totals = Totals()
        self.seconds = Distribution(SECONDS)
        self.last_minute = LastMinute()

    def record(self, now: float, took_s: float, *, is_failure: bool) -> None:
        """Count one request that was answered, or could not be."""
        self.totals.add(took_s, is_failure=is_failure)
        self.seconds.observe(took_s)
        self.last_minute.record(now, took_s, is_failure=is_failure)

    def copy(self) -> "Traffic":
        """Return what was counted until now in all."""
        copied = Traffic()
        copied.totals, copied.seconds = self.totals.copy(), self.seconds.copy()
        return copied


class VersionTraffic:
    """Requests to one version. For the event loop only, but for copies.

    Attributes:
        dropped: Copies that it did not get.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._kinds: dict[TrafficKind, Traffic] = {}

    def of(self, kind: TrafficKind) -> Traffic:
        """Return the requests that it got for one reason."""
        traffic = self._kinds.get(kind)
        if traffic is None:
            traffic = self._kinds[kind] = Traffic()
        return traffic

    def items(self) -> Sequence[tuple[TrafficKind, Traffic]]:
        """Return the reasons that occurred, with the requests of each."""
        return list(self._kinds.items())

    def figures(self, now: float) -> Mapping[TrafficKind, TrafficFigures]:
        """Return what clients are shown of the last minute."""
        return {kind: traffic.last_minute.figures(now) for kind, traffic in self._kinds.items()}

    def copy(self) -> "VersionTraffic":
        """Return what was counted until now."""
        copied = VersionTraffic()
        copied.dropped = self.dropped
        copied._kinds = {kind: traffic.copy() for kind, traffic in self._kinds.items()}
        return copied


def is_server_error(status: int) -> bool:
    """Return whether an answer with this status counts as a failure of its version."""
    return status >= _MIN_SERVER_ERROR


def families(versions: Mapping[tuple[str, str], VersionTraffic]) -> list[Metric]:
    """Return the traffic of versions, by workflow and version, as Prometheus has it."""
    requests = CounterMetricFamily("wfmgmt_version_requests", "Requests to a version", labels=_LABELS)
    failures = CounterMetricFamily(
        "wfmgmt_version_failures", "Requests to a version that failed with 5xx or a time-out", labels=_LABELS
    )
    seconds = HistogramMetricFamily("wfmgmt_version_seconds", "Time that a version took", labels=_LABELS)
    dropped = CounterMetricFamily(
        "wfmgmt_mirror_dropped", "Copies of requests that a version did not get", labels=_LABELS[:2]
    )
    for names, version in versions.items():
        dropped.add_metric(names, version.dropped)
        for kind, traffic in version.items():
            labels = [*names, kind.value]
            requests.add_metric(labels, traffic.totals.requests)
            failures.add_metric(labels, traffic.totals.failures)
            seconds.add_metric(labels, traffic.seconds.buckets(), traffic.seconds.total)
    return [requests, failures, seconds, dropped]
