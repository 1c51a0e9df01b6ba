"""Refusing graphs that name functions which the handler file of a workflow does not have."""

from collections.abc import Collection

from wfmgmt.archives.handler_names import defined_names
from wfmgmt.archives.manifest import WorkflowArchive
from wfmgmt.domain.spec import WorkflowSpec
from wfmgmt.domain.workflow import LoadRequest, NodeKind
from wfmgmt.errors import InvalidWorkflow


def check_functions(spec: WorkflowSpec, contents: WorkflowArchive) -> None:
    """Refuse a graph that names functions which the source of the handler file surely does not have.

    Raises:
        InvalidWorkflow: It does.
    """
    functions = [node.name for node in spec.nodes if node.kind is NodeKind.FUNCTION]
    if not functions:
        return
    if contents.handler is None:
        raise InvalidWorkflow(
            f"dag: {functions[0]} is not under models, so it has to be a function, but the archive has no handler file"
        )
    source = contents.handler_source
    names = None if source is None else defined_names(source, contents.handler)
    missing = [] if names is None else [name for name in functions if name not in names]
    if missing:
        raise _no_function(missing[0], contents.handler)


def check_found(target: LoadRequest, missing: Collection[str]) -> None:
    """Refuse a graph that names functions which a worker did not find in the handler file.

    Raises:
        InvalidWorkflow: One of the nodes that it did not find is a function.
    """
    for node in target.nodes:
        if node.name in missing and node.kind is NodeKind.FUNCTION:
            raise _no_function(node.name, target.handler)


def _no_function(node: str, handler: str | None) -> InvalidWorkflow:
    return InvalidWorkflow(f"dag: {node} is neither under models nor a function of the handler file {handler}")
