"""Metrics that handlers keep, on their way to `/metrics`."""

from collections.abc import Sequence
from typing import Any

#: Measurements of one batch that are kept; a handler that makes more loses the rest.
MAX_PER_BATCH = 1000

#: The two gauges that TorchServe's own configuration declares.
_DECLARED = ("HandlerTime", "PredictionTime")
_UNITS_OF_TIME = ("ms", "s")
_UNITS_OF_SIZE = ("MB", "kB", "GB", "B")


class Metric:
    """One metric that a handler keeps, as `add_metric_to_cache` and `get_metric` give it.

    Attributes:
        metric_name: Its name.
        unit: Of its values.
        dimension_names: As they were given; dimensions are not kept.
        metric_type: As it was given: a text, or torchserve's own enumeration.

    Source:
        TorchServe 0.12.0, class CachingMetric.
    """

    def __init__(
        self,
        metrics: "HandlerMetrics",
        metric_name: str,
        unit: str,
        dimension_names: Sequence[str] = (),
        metric_type: Any = "counter",  # noqa: ANN401
    ) -> None:
        self.metric_name = metric_name
        self.unit = unit
        self.dimension_names = list(dimension_names or ())
        self.metric_type = metric_type
        self._metrics = metrics

    def add_or_update(
        self,
        value: float,
        dimension_values: Sequence[str] = (),  # noqa: ARG002 - TorchServe's signature
        request_id: str = "",  # noqa: ARG002
    ) -> None:
        """Count up by a value, or take a measurement; dimensions and request ids are not kept."""
        self._metrics.note(_kind(self.metric_type), self.metric_name, self.unit, value)

    def update(self, value: float, request_id: str = "", dimensions: Any = ()) -> None:  # noqa: ANN401
        """Do the same, as handlers of older versions do."""
        self.add_or_update(value, dimensions, request_id)


class HandlerMetrics:
    """The `metrics` of a handler's context. Values of one name are distinguished by their kind and unit only.

    Attributes:
        model_name: `{workflow}__{node}`.
        request_ids: Identities of the requests of the batch, by index.

    Source:
        TorchServe 0.12.0, "Custom Metrics API", and its class MetricsCacheYamlImpl: names and arguments of the methods.
    """

    def __init__(self, model_name: str = "") -> None:
        self.model_name = model_name
        self.request_ids: Any = None
        self._cache: dict[tuple[str, str], Metric] = {}
        self._noted: list[tuple[str, str, str, float]] = []

    def set_request_ids(self, request_ids: Any) -> None:  # noqa: ANN401
        """Set which requests the next measurements belong to; they are not kept with them."""
        self.request_ids = request_ids

    def add_counter(self, name: str, value: float, idx: Any = None, dimensions: Any = None) -> None:  # noqa: ANN401
        """Count up."""
        del idx, dimensions
        self.note("counter", name, "count", value)

    def add_error(self, name: str, value: Any, dimensions: Any = None) -> None:  # noqa: ANN401
        """Count errors: so many, or one when the value is a text, which is not kept."""
        del dimensions
        self.note("counter", name, "count", value if isinstance(value, int | float) else 1)

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
        del idx, dimensions
        if unit not in _UNITS_OF_SIZE:
            raise ValueError(f"the unit of a size is one of {_UNITS_OF_SIZE}, not {unit!r}")
        self.note(_kind(metric_type or "gauge"), name, unit, value)

    def add_percent(
        self,
        name: str,
        value: float,
        idx: Any = None,  # noqa: ANN401
        dimensions: Any = None,  # noqa: ANN401
        metric_type: Any = None,  # noqa: ANN401
    ) -> None:
        """Take a share of a hundred."""
        del idx, dimensions
        self.note(_kind(metric_type or "gauge"), name, "percent", value)

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
        metric = Metric(self, metric_name, unit, dimension_names, metric_type)
        self._cache[metric_name, _kind(metric_type)] = metric
        return metric

    def get_metric(self, metric_name: str, metric_type: Any = "counter") -> Metric:  # noqa: ANN401
        """Return the metric of that name and type, a new one when it was not added.

        Source:
            TorchServe has those that its `metrics_config` declares besides, and raises an error for others.
        """
        found = self._cache.get((metric_name, _kind(metric_type)))
        return found or self.add_metric_to_cache(metric_name, _unit(metric_name, metric_type), metric_type=metric_type)

    def cache_keys(self) -> list[str]:
        """Return the metrics that were added, as `type:name`."""
        return [f"{kind}:{name}" for name, kind in self._cache]

    def note(self, kind: str, name: str, unit: str, value: float) -> None:
        """Keep one measurement until the batch is answered."""
        if len(self._noted) < MAX_PER_BATCH:
            self._noted.append((kind, str(name), str(unit), float(value)))

    def take(self) -> list[tuple[str, str, str, float]]:
        """Return what was noted since this was asked last, as (kind, name, unit, value)."""
        noted, self._noted = self._noted, []
        return noted


def _kind(metric_type: Any) -> str:  # noqa: ANN401 - a text, or torchserve's own enumeration of them
    return str(getattr(metric_type, "value", metric_type)).lower()


def _unit(metric_name: str, metric_type: Any) -> str:  # noqa: ANN401 - see `_kind`
    """Return the unit of a metric that a handler takes for declared."""
    if _kind(metric_type) == "counter":
        return "count"
    return "ms" if metric_name in _DECLARED else ""
