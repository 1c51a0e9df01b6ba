"""The spec of a workflow: the YAML file that names its models, their settings and its graph."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from wfmgmt.domain.dag import Dag
from wfmgmt.domain.json_values import described
from wfmgmt.domain.limits import Limits
from wfmgmt.domain.names import check_node_name, nearest, quoted, shortened
from wfmgmt.domain.threads import MAX_THREADS
from wfmgmt.domain.workflow import SETTINGS, NodeKind, NodeSettings, NodeSpec
from wfmgmt.domain.yaml_text import load_yaml
from wfmgmt.errors import InvalidWorkflow

_MAX_WARNINGS = 100
_TOP_LEVEL_KEYS = ("models", "functions", "dag")
#: Those without which no workflow makes sense, but for one of functions alone, which needs no `models`.
_REQUIRED_KEYS = ("models", "dag")
#: Such keys are the author's own: they hold anchors, notes, or what other programs read.
_EXTENSION = "x-"

#: The one of them that is ours, with what may stand in it, and in each of its nodes.
_OWN_KEY, _OWN_PARTS, _OWN_NODE_KEYS = "x-wfmgmt", ("nodes",), ("threads",)

#: How a value is called where an array is a list and an object a mapping.
_described = partial(described, array="a list", mapping="a mapping")


_OPTIONS = {setting.key: setting for setting in SETTINGS}
_MODEL_KEYS = (*_OPTIONS, "url")
_FUNCTION_KEYS = ("min-workers", "max-workers", "retry-attempts", "timeout-ms")
#: What the global settings of models do not change: a function has one process, and no batches.
_ONE_PROCESS = {"min-workers": 1, "max-workers": 1, "batch-size": 1, "max-batch-delay": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowSpec:
    """A parsed spec, checked as far as that goes without its archive.

    Attributes:
        defaults: The global settings.
        nodes: All nodes of the graph in topological order.
        dag: The graph.
        warnings: Whole sentences on what is most likely a mistake but does no harm.
    """

    defaults: NodeSettings
    nodes: tuple[NodeSpec, ...]
    dag: Dag
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Models:
    """The part of the spec under `models`.

    Attributes:
        written: The global options that the spec gives, by their keys.
        defaults: The settings that follow from them.
        by_name: The models, also those that the graph does not use.
        unknown_keys: Pairs of a model and a key in its settings that means nothing.
    """

    written: Mapping[str, int]
    defaults: NodeSettings
    by_name: Mapping[str, NodeSpec]
    unknown_keys: tuple[tuple[str, str], ...]


def parse_spec(text: str, limits: Limits) -> WorkflowSpec:
    """Return what the text of a spec file says.

    Global settings count at any place under `models`. A name in the graph that is not a model is taken for a
    function of the handler file; whether there is such a function is for the caller to find out. Functions may have
    settings under a key `functions` of our own, and all nodes those that TorchServe does not have under `x-wfmgmt`.

    Raises:
        InvalidWorkflow: The text is not YAML or has keys or values that do not belong there; the message gives the
            key path and what was expected.
        InvalidDag: The graph breaks the rules.

    Source:
        The keys and their defaults are those of TorchServe 0.12.0. It applies global settings only to the models that
        stand after them, which its documentation does not mention.
    """
    document = load_yaml(text, max_bytes=limits.spec_bytes, max_depth=limits.spec_depth, max_values=limits.spec_values)
    if not isinstance(document, dict):
        raise _unexpected("spec", "a mapping with the keys models and dag", document)
    unknown = [key for key in document if key not in _TOP_LEVEL_KEYS]
    _check_typing_errors(document, unknown)
    if "dag" not in document:
        raise InvalidWorkflow("dag: expected a mapping of names to lists of names, but there is no key dag")
    models = _parse_models(document.get("models", {}))
    dag = Dag.from_mapping(_parse_dag(document["dag"]), limits.dag_nodes)
    names = [name for name in dag.nodes if name not in models.by_name]
    functions = _parse_functions(document.get("functions", {}), names, models.written)
    threads = _parse_threads(document.get(_OWN_KEY, {}), dag.nodes)
    return WorkflowSpec(
        defaults=models.defaults,
        nodes=tuple(
            replace(models.by_name.get(name) or functions[name], threads=threads.get(name)) for name in dag.nodes
        ),
        dag=dag,
        warnings=_warnings(unknown, models, dag),
    )


def _check_typing_errors(document: Mapping[str, object], unknown: Sequence[str]) -> None:
    """Refuse an unknown key that most likely stands for one that is missing.

    Raises:
        InvalidWorkflow: There is such a key.
    """
    for key in unknown:
        if nearest(key, _REQUIRED_KEYS) in set(_REQUIRED_KEYS) - document.keys():
            raise InvalidWorkflow(f"spec: {_unknown_key(key, _TOP_LEVEL_KEYS)}")


def _parse_models(value: object) -> _Models:
    """Return what stands under `models`.

    Raises:
        InvalidWorkflow: A key or value does not belong there.
    """
    if not isinstance(value, dict):
        raise _unexpected("models", "a mapping of settings and models", value)
    own_maps: dict[str, dict[str, object]] = {}
    for key, entry in value.items():
        if key in _OPTIONS:
            continue
        if isinstance(entry, dict):
            own_maps[check_node_name(key, "models")] = entry
        elif entry is None or isinstance(entry, list):
            raise _unexpected(f"models.{_shown_key(key)}", "a mapping with the url and settings of a model", entry)
        else:
            raise InvalidWorkflow(f"models: {_unknown_key(key, _OPTIONS)}")
    written = _parse_options("models", value)
    return _Models(
        written=written,
        defaults=_settings("models", {}, written),
        by_name={name: _parse_model(name, own, written) for name, own in own_maps.items()},
        unknown_keys=tuple((name, key) for name, own in own_maps.items() for key in own if key not in _MODEL_KEYS),
    )


def _parse_model(name: str, own: Mapping[str, object], inherited: Mapping[str, int]) -> NodeSpec:
    """Return one model.

    Args:
        name: Its name, already checked.
        own: What stands under it.
        inherited: The global options that the spec gives.

    Raises:
        InvalidWorkflow: It has no url, or a value is wrong.
    """
    path = f"models.{name}"
    if "url" not in own:
        raise InvalidWorkflow(f"{path}.url: expected the name or http(s) address of a .mar, but there is no key url")
    url = own["url"]
    expected = "the name or http(s) address of a .mar"
    if not isinstance(url, str) or not url.strip():
        raise _unexpected(f"{path}.url", expected, url)
    if not url.isprintable():
        # It may be an address with credentials, so it is not repeated.
        raise InvalidWorkflow(f"{path}.url: expected {expected}, got text with control characters")
    settings = _settings(path, inherited, _parse_options(path, own))
    return NodeSpec(name=name, kind=NodeKind.MODEL, url=url, settings=settings)


def _parse_options(path: str, values: Mapping[str, object]) -> dict[str, int]:
    """Return the options among some keys and values of the spec, by their keys.

    Raises:
        InvalidWorkflow: A value is not a whole number or out of range.
    """
    written: dict[str, int] = {}
    for key, option in _OPTIONS.items():
        if key not in values:
            continue
        written[key] = _number(f"{path}.{key}", values[key], option.low, option.high)
    return written


def _number(path: str, value: object, low: int, high: int) -> int:
    """Return a whole number.

    Raises:
        InvalidWorkflow: The value is none, or out of range.
    """
    # bool is a kind of int in Python, but `min-workers: yes` is no count.
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise _unexpected(path, f"a whole number from {low} to {high}", value)
    return value


def _settings(path: str, inherited: Mapping[str, int], own: Mapping[str, int]) -> NodeSettings:
    """Return the settings that follow from the options of a model and the global ones.

    A default for max-workers gives way to a larger min-workers; two numbers that were both written have to fit.

    Args:
        path: Where the own options stand.
        inherited: Options from the scope around.
        own: Options that stand here.

    Raises:
        InvalidWorkflow: max-workers is less than min-workers.
    """
    written = {**inherited, **own}
    settings = replace(NodeSettings(), **{_OPTIONS[key].field: value for key, value in written.items()})
    if settings.max_workers >= settings.min_workers:
        return settings
    if "max-workers" not in written:
        return replace(settings, max_workers=settings.min_workers)
    low, high = settings.min_workers, settings.max_workers
    if "max-workers" in own:
        raise InvalidWorkflow(f"{path}.max-workers: expected at least min-workers, which is {low}, got {high}")
    raise InvalidWorkflow(f"{path}.min-workers: expected at most max-workers, which is {high}, got {low}")


def _parse_functions(value: object, names: Sequence[str], inherited: Mapping[str, int]) -> dict[str, NodeSpec]:
    """Return the nodes for functions of the handler file.

    Args:
        value: What stands under `functions`.
        names: The functions in the graph.
        inherited: The global options that the spec gives.

    Raises:
        InvalidWorkflow: A name or key does not belong there, or a value is wrong.

    Source:
        TorchServe 0.12.0: functions have one worker each and no batches, without regard to the global settings.
    """
    if not isinstance(value, dict):
        raise _unexpected("functions", "a mapping of functions to their settings", value)
    for name, own in value.items():
        if name not in names:
            raise InvalidWorkflow(f"functions: {_shown_key(name)} is not a function in the dag{_hint(name, names)}")
        _check_keys(f"functions.{name}", own, _FUNCTION_KEYS)
    return {name: _function_node(name, value.get(name, {}), inherited) for name in names}


def _parse_threads(value: object, names: Sequence[str]) -> dict[str, int]:
    """Return the threads that workers of nodes are to use, by the names of those nodes for which `x-wfmgmt` says so.

    Raises:
        InvalidWorkflow: A name, key or value does not belong there.
    """
    path = f"{_OWN_KEY}.nodes"
    nodes = _check_keys(_OWN_KEY, value, _OWN_PARTS).get("nodes", {})
    if not isinstance(nodes, dict):
        raise _unexpected(path, "a mapping of nodes to their settings", nodes)
    threads: dict[str, int] = {}
    for name, own in nodes.items():
        if name not in names:
            raise InvalidWorkflow(f"{path}: {_shown_key(name)} is not a node of the dag{_hint(name, names)}")
        keys = _check_keys(f"{path}.{name}", own, _OWN_NODE_KEYS)
        if "threads" in keys:
            threads[name] = _number(f"{path}.{name}.threads", keys["threads"], 1, MAX_THREADS)
    return threads


def _check_keys(path: str, value: object, known: tuple[str, ...]) -> dict[str, object]:
    """Return a mapping in which only known keys stand.

    Raises:
        InvalidWorkflow: The value is something else.
    """
    if not isinstance(value, dict):
        raise _unexpected(path, f"a mapping with {', '.join(known)}", value)
    for key in value:
        if key not in known:
            raise InvalidWorkflow(f"{path}: {_unknown_key(key, known)}")
    return value


def _function_node(name: str, own: Mapping[str, object], inherited: Mapping[str, int]) -> NodeSpec:
    path = f"functions.{name}"
    written = _parse_options(path, own)
    scope = {**inherited, **_ONE_PROCESS}
    if "max-workers" not in written:
        del scope["max-workers"]  # So that a larger min-workers of its own raises it.
    return NodeSpec(name=name, kind=NodeKind.FUNCTION, url=None, settings=_settings(path, scope, written))


def _parse_dag(value: object) -> dict[str, tuple[str, ...]]:
    """Return the mapping under `dag` with every name checked.

    Raises:
        InvalidWorkflow: It is not a mapping of names to lists of names.
    """
    if not isinstance(value, dict):
        raise _unexpected("dag", "a mapping of names to lists of names", value)
    mapping: dict[str, tuple[str, ...]] = {}
    for source, targets in value.items():
        check_node_name(source, "dag")
        if not isinstance(targets, list):
            raise _unexpected(f"dag.{source}", "a list of names", targets)
        mapping[source] = tuple(
            _parse_target(target, f"dag.{source}[{position}]") for position, target in enumerate(targets)
        )
    return mapping


def _parse_target(value: object, where: str) -> str:
    """Return one name in a list of the graph.

    Raises:
        InvalidWorkflow: It is not a name.
    """
    if isinstance(value, str):
        return check_node_name(value, where)
    hint = "" if isinstance(value, list | dict) else "; put it in quotes if it is one"
    raise InvalidWorkflow(f"{where}: expected a name, got {_described(value)}{hint}")


def _warnings(unknown: Sequence[str], models: _Models, dag: Dag) -> tuple[str, ...]:
    """Return the warnings, the last one saying how many were left out when there are very many."""
    keys: list[tuple[str, str, tuple[str, ...]]] = [("spec", key, _TOP_LEVEL_KEYS) for key in unknown]
    keys += [(f"models.{name}", key, _MODEL_KEYS) for name, key in models.unknown_keys]
    keys = [each for each in keys if not each[1].startswith(_EXTENSION)]
    unused = [name for name in models.by_name if name not in dag.nodes]
    found = len(keys) + len(unused)
    kept_keys = keys[:_MAX_WARNINGS]
    kept_unused = unused[: _MAX_WARNINGS - len(kept_keys)]
    warnings = [f"{where}: {_unknown_key(key, known)}" for where, key, known in kept_keys]
    warnings += [f"models.{name}: not used in the dag, so it is not loaded" for name in kept_unused]
    if found > _MAX_WARNINGS:
        warnings.append(f"{found - _MAX_WARNINGS} more warnings are not shown")
    return tuple(warnings)


def _unknown_key(key: str, known: Mapping[str, object] | tuple[str, ...]) -> str:
    """Say that a key means nothing, and which key may be meant."""
    return f"unknown key {_shown_key(key)}{_hint(key, known)}"


def _hint(word: str, known: Iterable[str]) -> str:
    """Return the question whether a word that is known may be meant, an empty text when none comes close."""
    near = nearest(word, known)
    return f", did you mean {near}?" if near else ""


def _shown_key(key: str) -> str:
    """Return a key for a message: as it is when that is harmless, in quotes otherwise."""
    return shortened(key) if key.isprintable() and key.strip() else quoted(key)


def _unexpected(path: str, expected: str, value: object) -> InvalidWorkflow:
    """Return the error for a value that is not what its place in the spec calls for."""
    return InvalidWorkflow(f"{path}: expected {expected}, got {_described(value)}")
