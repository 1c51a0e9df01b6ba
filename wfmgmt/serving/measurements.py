"""Counters and times of nodes, for `/metrics`.

A request touches several of these per node, so they are plain numbers; prometheus-client only writes them down.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from wfmgmt.logs import dropped_lines
from wfmgmt.serving.distributions import BATCH_SIZES, SECONDS, Distribution
from wfmgmt.serving.models.base import Drift, NodeAnswer
from wfmgmt.serving.traffic import VersionTraffic, families

#: Metrics of its own that one node's handler may have; a handler that makes up names does not fill the memory.
MAX_PER_HANDLER = 100

_LABELS = ("workflow", "node")


class NodeMeasurements:
    """Counters and times of one node, of all versions of its workflow that have it.

    Attributes:
        users: Loaded versions that have it.
        requests: Attempts to have it answer.
        failures: Attempts that failed.
        retries: Attempts after a failure.
        queue_s: How long requests waited for a worker and for their batch to fill.
        run_s: How long workers took.
        batch_size: In how large a batch each request was.
        dropped_lines: Lines of output that were too many to be logged.
        scalings: How often the number of workers changed by need, or did not, by direction and reason.
        handler: By kind, name and unit: how often the handler measured it, the sum, and the last value.
    """

    def __init__(self) -> None:
        self.users = 0
        self.requests = self.failures = self.retries = self.dropped_lines = 0
        self.scalings: Counter[tuple[str, str]] = Counter()
        self.queue_s = Distribution(SECONDS)
        self.run_s = Distribution(SECONDS)
        self.batch_size = Distribution(BATCH_SIZES)
        self.handler: dict[tuple[str, str, str], tuple[int, float, float]] = {}

    def copy(self) -> "NodeMeasurements":
        """Return what was measured until now."""
        copied = NodeMeasurements.__new__(NodeMeasurements)
        copied.requests, copied.failures, copied.retries = self.requests, self.failures, self.retries
        copied.dropped_lines, copied.scalings = self.dropped_lines, self.scalings.copy()
        copied.queue_s, copied.run_s = self.queue_s.copy(), self.run_s.copy()
        copied.batch_size, copied.handler = self.batch_size.copy(), self.handler.copy()
        return copied

    def record_answer(self, answer: NodeAnswer) -> None:
        """Count an answer."""
        self.queue_s.observe(answer.queued_s)
        self.run_s.observe(answer.run_s)
        self.batch_size.observe(answer.batch_size)

    def record_handler(self, kind: str, name: str, unit: str, value: float) -> None:
        """Count what the handler measured; what is no number, and new names beyond the limit, are left out."""
        kind = kind if kind in {"counter", "time"} else "gauge"
        key = (kind, _printable(name)[:100], _printable(unit)[:20])
        if not math.isfinite(value) or (key not in self.handler and len(self.handler) >= MAX_PER_HANDLER):
            return
        if kind != "gauge" and value < 0:
            return  # Counters only grow.
        count, total, _ = self.handler.get(key, (0, 0.0, 0.0))
        self.handler[key] = (count + 1, total + value, value)


def _of_the_log() -> Metric:
    return CounterMetricFamily(
        "wfmgmt_log_dropped",
        "Lines of the runtime's log that were dropped: unread, or not to be written",
        dropped_lines(),
    )


def _printable(text: str) -> str:
    """Return a text that UTF-8 can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


class Measurements(Collector):
    """Counters and times of all loaded nodes. For the event loop only, but for copies, which do not change."""

    def __init__(self) -> None:
        self._workflows: dict[str, dict[str, NodeMeasurements]] = {}
        self._versions: dict[tuple[str, str], VersionTraffic] = {}
        self._drifts: Counter[tuple[str, str]] = Counter()
        self._failed_logins: Counter[str] = Counter()

    def copy(self) -> "Measurements":
        """Return what was measured until now, which takes a small part of the time of `collect`."""
        copied = Measurements()
        copied._drifts, copied._failed_logins = self._drifts.copy(), self._failed_logins.copy()
        for workflow, nodes in self._workflows.items():
            copied._workflows[workflow] = {node: measured.copy() for node, measured in nodes.items()}
        copied._versions = {names: traffic.copy() for names, traffic in self._versions.items()}
        return copied

    def start(self, workflow: str, nodes: Iterable[str]) -> Mapping[str, NodeMeasurements]:
        """Return the measurements of a workflow's nodes; versions share those of nodes of one name."""
        known = self._workflows.setdefault(workflow, {})
        measured = {node: known.setdefault(node, NodeMeasurements()) for node in nodes}
        for each in measured.values():
            each.users += 1
        return measured

    def stop(self, workflow: str, measured: Mapping[str, NodeMeasurements]) -> None:
        """Forget those nodes that no other version has."""
        known = self._workflows.get(workflow, {})
        for node, each in measured.items():
            each.users -= 1
            if not each.users:
                del known[node]
        if not known:
            self._workflows.pop(workflow, None)

    def start_version(self, workflow: str, version: str) -> VersionTraffic:
        """Return the new counters of a version."""
        traffic = self._versions[workflow, version] = VersionTraffic()
        return traffic

    def stop_version(self, workflow: str, version: str, traffic: VersionTraffic) -> None:
        """Forget a version, unless another one took its name."""
        if self._versions.get((workflow, version)) is traffic:
            del self._versions[workflow, version]

    def record_handler(self, workflow: str, node: str, measured: Iterable[Sequence[object]]) -> None:
        """Take what a handler measured, which may be anything."""
        found = self._workflows.get(workflow, {}).get(node)
        if found is None:
            return
        for each in measured:
            match each:
                case [str(kind), str(name), str(unit), float(value)]:
                    found.record_handler(kind, name, unit, value)

    def record_dropped(self, workflow: str, node: str, lines: int) -> None:
        """Count lines of output that were not logged."""
        found = self._workflows.get(workflow, {}).get(node)
        if found is not None:
            found.dropped_lines += lines

    def record_scaling(self, workflow: str, node: str, direction: str, reason: str) -> None:
        """Count a change of the number of workers by need, or a refusal."""
        found = self._workflows.get(workflow, {}).get(node)
        if found is not None:
            found.scalings[direction, reason] += 1

    def record_drift(self, drift: Drift) -> None:
        """Count a difference between a model server and what it should hold."""
        self._drifts[drift.server, drift.kind.value] += 1

    def record_failed_login(self, reason: str) -> None:
        """Count a request whose token was refused."""
        self._failed_logins[reason] += 1

    def collect(self) -> list[Metric]:
        """Return everything as Prometheus has it."""
        return [
            *self._counters(),
            self._scalings(),
            *self._distributions(),
            *self._of_handlers(),
            *families(self._versions),
            self._of_servers(),
            self._of_logins(),
            _of_the_log(),
        ]

    def _of_servers(self) -> Metric:
        drifts = CounterMetricFamily(
            "wfmgmt_drift", "Differences between model servers and the registry", labels=["server", "kind"]
        )
        for labels, count in self._drifts.items():
            drifts.add_metric(labels, count)
        return drifts

    def _of_logins(self) -> Metric:
        logins = CounterMetricFamily(
            "wfmgmt_failed_logins", "Requests to the inference address whose token was refused", labels=["reason"]
        )
        for reason, count in self._failed_logins.items():
            logins.add_metric([reason], count)
        return logins

    def _nodes(self) -> Iterator[tuple[list[str], NodeMeasurements]]:
        for workflow, nodes in self._workflows.items():
            for node, measured in nodes.items():
                yield [workflow, node], measured

    def _counters(self) -> list[Metric]:
        requests = CounterMetricFamily("wfmgmt_node_requests", "Tries to have a node answer", labels=_LABELS)
        failures = CounterMetricFamily("wfmgmt_node_failures", "Tries that failed", labels=_LABELS)
        retries = CounterMetricFamily("wfmgmt_node_retries", "Tries after a failure", labels=_LABELS)
        dropped = CounterMetricFamily(
            "wfmgmt_handler_output_dropped", "Lines of handlers' output that were too many to be logged", labels=_LABELS
        )
        for labels, measured in self._nodes():
            dropped.add_metric(labels, measured.dropped_lines)
            requests.add_metric(labels, measured.requests)
            failures.add_metric(labels, measured.failures)
            retries.add_metric(labels, measured.retries)
        return [requests, failures, retries, dropped]

    def _scalings(self) -> Metric:
        family = CounterMetricFamily(
            "wfmgmt_autoscaled",
            "Changes of the number of workers by need, and refusals",
            labels=[*_LABELS, "direction", "reason"],
        )
        for labels, measured in self._nodes():
            for decision, count in measured.scalings.items():
                family.add_metric([*labels, *decision], count)
        return family

    def _distributions(self) -> list[Metric]:
        queue = HistogramMetricFamily(
            "wfmgmt_node_queue_seconds", "Wait for a worker and for the batch to fill", labels=_LABELS
        )
        run = HistogramMetricFamily("wfmgmt_node_run_seconds", "Time that a worker took", labels=_LABELS)
        batch = HistogramMetricFamily(
            "wfmgmt_node_batch_size", "Requests in the batch that a request was in", labels=_LABELS
        )
        for labels, measured in self._nodes():
            for family, distribution in (
                (queue, measured.queue_s),
                (run, measured.run_s),
                (batch, measured.batch_size),
            ):
                family.add_metric(labels, distribution.buckets(), distribution.total)
        return [queue, run, batch]

    def _of_handlers(self) -> list[Metric]:
        names = [*_LABELS, "name", "unit"]
        counter = CounterMetricFamily("wfmgmt_handler_count", "What handlers count", labels=names)
        seconds = CounterMetricFamily("wfmgmt_handler_seconds", "Sum of the times that handlers take", labels=names)
        times = CounterMetricFamily("wfmgmt_handler_times", "How many times handlers have taken", labels=names)
        gauge = GaugeMetricFamily("wfmgmt_handler_value", "What handlers measured last", labels=names)
        for labels, measured in self._nodes():
            for (kind, name, unit), (count, total, last) in measured.handler.items():
                values = [*labels, name, unit]
                if kind == "counter":
                    counter.add_metric(values, total)
                elif kind == "time":
                    seconds.add_metric(values, total)
                    times.add_metric(values, count)
                else:
                    gauge.add_metric(values, last)
        return [counter, seconds, times, gauge]
