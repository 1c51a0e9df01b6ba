"""What is counted of the requests to versions."""

import pytest

from tests.unit.serving.test_measurements import text_of
from wfmgmt.control.messages import TrafficKind
from wfmgmt.serving.measurements import Measurements
from wfmgmt.serving.traffic import MINUTE_S, Totals, Traffic


@pytest.mark.parametrize("took_s", [0.0, 1e-5, 0.0007, 0.02, 3.0, 500.0])
def test_quantile_is_off_by_a_twentieth_at_most(took_s: float) -> None:
    """Times are counted in steps of a tenth, however short or long they are."""
    totals = Totals()
    totals.add(took_s, is_failure=False)
    assert totals.quantile_ms(0.99) == pytest.approx(max(took_s, 1e-5) * 1000, rel=0.06, abs=0.001)


def test_quantiles_are_of_all_requests() -> None:
    """Half of them took no longer than the median, and all but one in a hundred no longer than p99."""
    totals = Totals()
    assert totals.figures().p50_ms is None
    for number in range(1, 101):
        totals.add(number / 1000, is_failure=number > 98)
    figures = totals.figures()
    assert (figures.requests, figures.failures) == (100, 2)
    assert figures.p50_ms == pytest.approx(50, rel=0.06)
    assert figures.p99_ms == pytest.approx(99, rel=0.06)


def test_last_minute_forgets_what_is_older() -> None:
    """After a pause of any length, too; the totals go on."""
    traffic = Traffic()
    for second in range(200):
        traffic.record(float(second), 0.01, is_failure=second < 100)
    last = traffic.last_minute.figures(199.0)
    assert 55 <= last.requests <= 60
    assert last.failures == 0
    assert traffic.totals.requests == 200
    assert traffic.last_minute.figures(199.0 + 2 * MINUTE_S).requests == 0
    traffic.record(1000.0, 0.01, is_failure=True)
    assert traffic.last_minute.figures(1000.0).requests == 1


def test_metrics_are_per_version_and_kind() -> None:
    """A version that is gone is in them no more."""
    measurements = Measurements()
    version = measurements.start_version("w", "2.0")
    version.of(TrafficKind.SERVE).record(0.0, 0.02, is_failure=True)
    version.of(TrafficKind.MIRROR).record(0.0, 0.02, is_failure=False)
    version.dropped = 3
    lines = text_of(measurements.copy()).splitlines()
    for line in (
        'wfmgmt_version_requests_total{kind="serve",version="2.0",workflow="w"} 1.0',
        'wfmgmt_version_failures_total{kind="serve",version="2.0",workflow="w"} 1.0',
        'wfmgmt_version_failures_total{kind="mirror",version="2.0",workflow="w"} 0.0',
        'wfmgmt_version_seconds_bucket{kind="serve",le="0.025",version="2.0",workflow="w"} 1.0',
        'wfmgmt_mirror_dropped_total{version="2.0",workflow="w"} 3.0',
    ):
        assert line in lines
    measurements.stop_version("w", "2.0", version)
    assert 'version="2.0"' not in text_of(measurements)
