"""The settings in a model's own configuration file, as far as the server reads them and not the handler."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import yaml

from wfmgmt.domain.names import quoted
from wfmgmt.domain.spec import WorkflowSpec
from wfmgmt.domain.workflow import MAX_WORKERS, NodeSettings, NodeSpec
from wfmgmt.errors import InvalidArchive

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INTEGER = re.compile(r"[+-]?[0-9]{1,10}")
_MAX_COUNT = 2**31 - 1
_MAX_TIMEOUT_S = 86_400
#: What the server reads, with the smallest and the largest value.
_KEYS = {
    "minWorkers": (1, MAX_WORKERS),
    "maxWorkers": (1, MAX_WORKERS),
    "batchSize": (1, _MAX_COUNT),
    "maxBatchDelay": (0, _MAX_COUNT),
    "responseTimeout": (1, _MAX_TIMEOUT_S),
    "startupTimeout": (1, _MAX_TIMEOUT_S),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """The settings in a configuration file that the server itself reads.

    Attributes:
        file: Its name in the archive.
        values: What counts, by the keys of the file.
        problems: Why other settings do not count; phrases.
    """

    file: str
    values: Mapping[str, int]
    problems: tuple[str, ...]


def parse_model_config(file: str, text: str) -> ModelConfig:
    """Return what the server finds in a configuration file; the rest of it is the handler's.

    Raises:
        InvalidArchive: It is not a mapping in YAML.
    """
    try:
        nodes = list(_top_level(text))
    except _NoMapping as error:
        raise InvalidArchive(f"{file}: expected a mapping of settings") from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise InvalidArchive(f"{file} is not YAML: {' '.join(str(error).split())}") from error
    written = dict(zip(nodes[::2], nodes[1::2], strict=True))
    values, problems = {}, []
    for key, (low, high) in _KEYS.items():
        value = written.get(key, "")
        if _INTEGER.fullmatch(value) and low <= int(value) <= high:
            values[key] = int(value)
        elif key in written:
            shown = quoted(value) if value else "something else"
            problems.append(f"{key} has no effect: expected a whole number from {low} to {high}, got {shown}")
    return ModelConfig(file=file, values=values, problems=tuple(problems))


class _NoMapping(Exception):
    """The document of a configuration file is not a mapping."""


def _top_level(text: str) -> Iterator[str]:
    """Yield the keys and values of the mapping by turns; of those that are no plain scalars an empty text.

    Nothing is built of what lies deeper, which may be anything that the handler's parser takes.
    """
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.DocumentEndEvent):
            return  # The handler's parser refuses further documents.
        if depth == 0 and isinstance(event, yaml.NodeEvent) and not isinstance(event, yaml.MappingStartEvent):
            if isinstance(event, yaml.ScalarEvent) and not event.value:
                return
            raise _NoMapping
        if depth == 1 and isinstance(event, yaml.NodeEvent):
            yield event.value if isinstance(event, yaml.ScalarEvent) and not event.style else ""
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def configure(spec: WorkflowSpec, configs: Mapping[str, ModelConfig], startup_timeout_s: int) -> WorkflowSpec:
    """Return the spec with what the configuration files of its models say.

    Workers and the time of an answer count from the file, batches from the spec. What has no effect, or takes the place
    of what the spec says, is a warning.

    Args:
        spec: The spec.
        configs: By node, for those that have such a file.
        startup_timeout_s: What the registration asks for.

    Source:
        TorchServe 0.12.0, as it was seen to run workflows.
    """
    nodes, warnings = [], list(spec.warnings)
    for node in spec.nodes:
        config = configs.get(node.name)
        if config is None:
            nodes.append(node)
            continue
        configured = _configured(node, config)
        nodes.append(configured)
        notes = [*config.problems, *_notes(node.settings, configured.settings, config.values)]
        if config.values.get("startupTimeout", startup_timeout_s) < startup_timeout_s:
            notes.append(f"startupTimeout has no effect, startup_timeout of the registration is {startup_timeout_s}")
        warnings += [f"models.{node.name}: {config.file}: {note}" for note in notes]
    return replace(spec, nodes=tuple(nodes), warnings=tuple(warnings))


def max_startup_s(startup_timeout_s: int, configs: Mapping[str, ModelConfig]) -> int:
    """Return the time that each worker of a workflow has to come up: the registration's, or what a model needs."""
    return max([startup_timeout_s, *(config.values.get("startupTimeout", 0) for config in configs.values())])


def _configured(node: NodeSpec, config: ModelConfig) -> NodeSpec:
    settings = node.settings
    low, high = config.values.get("minWorkers"), config.values.get("maxWorkers")
    if low is not None and high is not None and low <= high:
        settings = replace(settings, min_workers=low, max_workers=high)
    if (answer_s := config.values.get("responseTimeout")) is not None:
        settings = replace(settings, timeout_ms=min(settings.timeout_ms, answer_s * 1000))
    return replace(node, settings=settings)


def _notes(spec: NodeSettings, used: NodeSettings, values: Mapping[str, int]) -> Iterator[str]:
    """Yield what an author of both files has to know."""
    defaults = NodeSettings()
    low, high = values.get("minWorkers"), values.get("maxWorkers")
    if low is None and high is not None:
        yield "maxWorkers has no effect without minWorkers"
    elif high is None and low is not None:
        yield "minWorkers has no effect without maxWorkers"
    elif low is not None and high is not None and low > high:
        yield f"minWorkers and maxWorkers have no effect: {low} is more than {high}"
    for key, option, in_spec, in_use, default in (
        ("minWorkers", "min-workers", spec.min_workers, used.min_workers, defaults.min_workers),
        ("maxWorkers", "max-workers", spec.max_workers, used.max_workers, defaults.max_workers),
    ):
        if in_spec not in {in_use, default}:
            yield f"{key} counts, which is {in_use}, and not {option} of the spec, which is {in_spec}"
    for key, option, in_spec in (
        ("batchSize", "batch-size", spec.batch_size),
        ("maxBatchDelay", "max-batch-delay", spec.max_batch_delay_ms),
    ):
        if values.get(key, in_spec) != in_spec:
            yield f"{key} has no effect, {option} of the spec counts, which is {in_spec}"
    if values.get("responseTimeout", 0) * 1000 > spec.timeout_ms:
        yield f"responseTimeout has no effect, timeout-ms of the spec counts, which is {spec.timeout_ms}"
