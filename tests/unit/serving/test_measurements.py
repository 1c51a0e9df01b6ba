"""What is counted at the nodes, as Prometheus reads it."""

from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from wfmgmt.serving.distributions import Distribution
from wfmgmt.serving.measurements import MAX_PER_HANDLER, Measurements
from wfmgmt.serving.models.base import NodeAnswer


def text_of(measurements: Measurements) -> str:
    """Return what a scrape gets."""
    registry = CollectorRegistry()
    registry.register(measurements)
    return generate_latest(registry).decode()


def test_distribution_counts_up_to_each_bound() -> None:
    """A value counts for its own bound and all that are larger."""
    distribution = Distribution((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 9.0):
        distribution.observe(value)
    assert distribution.buckets() == [("1.0", 2), ("2.0", 3), ("+Inf", 4)]
    assert distribution.total == 12.0


def test_metrics_are_per_workflow_and_node() -> None:
    """Requests, failures, retries, scalings and times carry both names."""
    measurements = Measurements()
    node = measurements.start("w", ["n"])["n"]
    node.requests, node.failures, node.retries = 3, 2, 1
    node.record_answer(NodeAnswer(content=b"", batch_size=4, queued_s=0.02, run_s=0.3))
    for workflow in ("w", "w", "gone"):
        measurements.record_scaling(workflow, "n", "up", "free_core")
    text = text_of(measurements)
    for line in (
        'wfmgmt_node_requests_total{node="n",workflow="w"} 3.0',
        'wfmgmt_node_failures_total{node="n",workflow="w"} 2.0',
        'wfmgmt_node_retries_total{node="n",workflow="w"} 1.0',
        'wfmgmt_autoscaled_total{direction="up",node="n",reason="free_core",workflow="w"} 2.0',
        'wfmgmt_node_queue_seconds_bucket{le="0.025",node="n",workflow="w"} 1.0',
        'wfmgmt_node_run_seconds_sum{node="n",workflow="w"} 0.3',
        'wfmgmt_node_batch_size_bucket{le="2.0",node="n",workflow="w"} 0.0',
        'wfmgmt_node_batch_size_bucket{le="4.0",node="n",workflow="w"} 1.0',
    ):
        assert line in text.splitlines()


def test_handlers_add_their_own() -> None:
    """Counters add up, times give a sum and a number, other values the last one."""
    measurements = Measurements()
    measurements.start("w", ["n"])
    measured = [["counter", "seen", "count", 2.0], ["time", "spent", "s", 0.25], ["gauge", "level", "dB", 3.0]]
    for _ in range(2):
        measurements.record_handler("w", "n", measured)
    text = text_of(measurements)
    for line in (
        'wfmgmt_handler_count_total{name="seen",node="n",unit="count",workflow="w"} 4.0',
        'wfmgmt_handler_seconds_total{name="spent",node="n",unit="s",workflow="w"} 0.5',
        'wfmgmt_handler_times_total{name="spent",node="n",unit="s",workflow="w"} 2.0',
        'wfmgmt_handler_value{name="level",node="n",unit="dB",workflow="w"} 3.0',
    ):
        assert line in text.splitlines()


def test_nonsense_of_handlers_is_left_out() -> None:
    """Neither values that are no numbers nor names without end get in."""
    measurements = Measurements()
    node = measurements.start("w", ["n"])["n"]
    nonsense: list[Any] = [["counter", "a", "b", float("nan")], ["x"], [1, 2, 3, 4], ["counter", "a", "b", 10**400]]
    nonsense += [["counter", "falls", "count", -1.0], 7]
    measurements.record_handler("w", "n", nonsense)
    assert node.handler == {}
    measurements.record_handler("w", "n", [["counter", f"\ud800 {number}", "count", 1.0] for number in range(1000)])
    assert len(node.handler) == MAX_PER_HANDLER
    assert 'name="? 1"' in text_of(measurements)
    measurements.record_handler("nosuch", "n", [["counter", "a", "count", 1.0]])


def test_workflow_that_is_gone_is_forgotten_unless_its_name_was_taken() -> None:
    """Ending an old registration does not end the counters of the new one."""
    measurements = Measurements()
    old = measurements.start("w", ["n"])
    new = measurements.start("w", ["n"])
    measurements.stop("w", old)
    assert 'workflow="w"' in text_of(measurements)
    measurements.stop("w", new)
    assert 'workflow="w"' not in text_of(measurements)


def test_metrics_tell_what_the_log_lacks() -> None:
    """Lines that were dropped are counted."""
    assert "wfmgmt_log_dropped_total 0.0" in text_of(Measurements()).splitlines()


def test_lines_of_output_that_were_not_logged_are_counted() -> None:
    """By node; those of a workflow that is gone are not."""
    measurements = Measurements()
    measurements.start("w", ["n"])
    measurements.record_dropped("w", "n", 7)
    measurements.record_dropped("gone", "n", 1)
    lines = [line for line in text_of(measurements).splitlines() if line.startswith("wfmgmt_handler_output_dropped_t")]
    assert lines == ['wfmgmt_handler_output_dropped_total{node="n",workflow="w"} 7.0']


def test_refused_tokens_are_counted_by_reason() -> None:
    """Also in copies."""
    measurements = Measurements()
    for reason in ("unknown", "malformed", "unknown"):
        measurements.record_failed_login(reason)
    text = text_of(measurements.copy())
    assert 'wfmgmt_failed_logins_total{reason="unknown"} 2.0' in text
    assert 'wfmgmt_failed_logins_total{reason="malformed"} 1.0' in text
