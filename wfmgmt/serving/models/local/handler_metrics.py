"""What handlers count and time, on its way to `/metrics`."""

from collections.abc import Sequence
from typing import Any

#: Measurements of one batch that are kept; a handler that makes more loses the rest.
MOST_PER_BATCH = 1000

_UNITS_OF_TIME = ("ms", "s")
_UNITS_OF_SIZE = ("MB", "kB", "GB", "B")


class Metric:
    """One metric that a handler keeps, as `add_metric_to_cache` gives it.

    Attributes:
        name: Its name.
        unit: Of its values.
        kind: `counter`, `gauge` or `histogram`.
    """

    def __init__(self, metrics: "HandlerMetrics", name: str, unit: str, kind: str) -> None:
        self.name = name
        self.unit = unit
        self.kind = kind
        self._metrics = metrics

    def add_or_update(
        self,
        value: float,
        dimension_values: Sequence[str] = (),  # noqa: ARG002 - TorchServe's signature
        request_id: str = "",  # noqa: ARG002
    ) -> None:
        """Count up by a value, or take a measurement; dimensions and request ids are not kept."""
        self._metrics.note(self.kind, self.name, self.unit, value)


class HandlerMetrics:
    """The `metrics` of a handler's context. Values of one name are told apart by their kind and unit only.

    Source:
        TorchServe 0.12.0, "Custom Metrics API": names and arguments of the methods.
    """

    def __init__(self) -> None:
        self._cache: dict[tuple[str, str], Metric] = {}
        self._noted: list[tuple[str, str, str, float]] = []

    def add_counter(self, name: str, value: float, idx: Any = None, dimensions: Any = None) -> None:  # noqa: ANN401
        """Count up."""
        del idx, dimensions
        self.note("counter", name, "count", value)

    def add_error(self, name: str, value: Any, dimensions: Any = None) -> None:  # noqa: ANN401
        """Count an error; its value, which is a text, is not kept."""
        del value, dimensions
        self.note("counter", name, "count", 1)

    def add_time(  # noqa: PLR0917 - TorchServe's signature
        self,
        name: str,
        value: float,
        idx: Any = None,  # noqa: ANN401
        unit: str = "ms",
        dimensions: Any = None,  # noqa: ANN401
        metric_type: Any = None,  # noqa: ANN401
    ) -> None:
        """Take a time."""
        del idx, dimensions, metric_type
        if unit not in _UNITS_OF_TIME:
            raise ValueError(f"the unit of a time is one of {_UNITS_OF_TIME}, not {unit!r}")
        self.note("time", name, "s", value / 1000 if unit == "ms" else value)

    def add_size(  # noqa: PLR0917 - TorchServe's signature
        self,
        name: str,
        value: float,
        idx: Any = None,  # noqa: ANN401
        unit: str = "MB",
        dimensions: Any = None,  # noqa: ANN401
        metric_type: Any = None,  # noqa: ANN401
    ) -> None:
        """Take a size."""
        del idx, dimensions, metric_type
        if unit not in _UNITS_OF_SIZE:
            raise ValueError(f"the unit of a size is one of {_UNITS_OF_SIZE}, not {unit!r}")
        self.note("gauge", name, unit, value)

    def add_percent(
        self,
        name: str,
        value: float,
        idx: Any = None,  # noqa: ANN401
        dimensions: Any = None,  # noqa: ANN401
        metric_type: Any = None,  # noqa: ANN401
    ) -> None:
        """Take a share of a hundred."""
        del idx, dimensions, metric_type
        self.note("gauge", name, "percent", value)

    def add_metric(  # noqa: PLR0917 - TorchServe's signature
        self,
        name: str,
        value: float,
        unit: str,
        idx: Any = None,  # noqa: ANN401
        dimensions: Any = None,  # noqa: ANN401
        metric_type: Any = "counter",  # noqa: ANN401
    ) -> None:
        """Count up or take a measurement, as the type says."""
        del idx, dimensions
        self.note(_kind(metric_type), name, unit, value)

    def add_metric_to_cache(
        self,
        metric_name: str,
        unit: str,
        dimension_names: Sequence[str] = (),
        metric_type: Any = "counter",  # noqa: ANN401
    ) -> Metric:
        """Return a metric of a handler's own, to be kept and updated."""
        del dimension_names
        metric = Metric(self, metric_name, unit, _kind(metric_type))
        self._cache[metric_name, metric.kind] = metric
        return metric

    def get_metric(self, metric_name: str, metric_type: Any = "counter") -> Metric:  # noqa: ANN401
        """Return a metric that was added to the cache.

        Raises:
            KeyError: There is none.
        """
        return self._cache[metric_name, _kind(metric_type)]

    def note(self, kind: str, name: str, unit: str, value: float) -> None:
        """Keep one measurement until the batch is answered."""
        if len(self._noted) < MOST_PER_BATCH:
            self._noted.append((kind, str(name), str(unit), float(value)))

    def take(self) -> list[tuple[str, str, str, float]]:
        """Return what was noted since this was asked last, as (kind, name, unit, value)."""
        noted, self._noted = self._noted, []
        return noted


def _kind(metric_type: Any) -> str:  # noqa: ANN401 - a text, or torchserve's own enumeration of them
    return str(getattr(metric_type, "value", metric_type)).lower()
