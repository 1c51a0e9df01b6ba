"""Which names a handler file defines, found out without running it."""

import ast
import threading
import warnings
from collections.abc import Iterator

from wfmgmt.errors import InvalidWorkflow

# `warnings.catch_warnings` swaps a list that all threads share; two at once could leave the wrong one in place.
_warnings_lock = threading.Lock()


class _StarImport(Exception):
    """The module takes in names that its source does not tell."""


def defined_names(source: str, filename: str) -> frozenset[str] | None:
    """Return the names that exist in a module after it was imported, as far as its source tells.

    Definitions, assignments and imports at module level count, also inside `if`, `try`, `with`, loops and `match`,
    whichever branch would run.

    Args:
        source: Text of the module.
        filename: How messages call it.

    Returns:
        The names, or None when a star import brings in names that only running the module could tell.

    Raises:
        InvalidWorkflow: The source is not a Python module.
    """
    try:
        return frozenset(_names_bound_in(_parse(source, filename)))
    except _StarImport:
        return None


def _parse(source: str, filename: str) -> ast.Module:
    """Parse a module; a warning about its style is no business of the server's log.

    Raises:
        InvalidWorkflow: The source is not a Python module.
    """
    try:
        with _warnings_lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except SyntaxError as exc:
        where = "" if exc.lineno is None else f" line {exc.lineno}:"
        raise InvalidWorkflow(f"Handler {filename}:{where} {exc.msg}") from exc
    except (RecursionError, MemoryError) as exc:
        raise InvalidWorkflow(f"Handler {filename}: its expressions or blocks are nested too deeply") from exc
    except ValueError as exc:
        raise InvalidWorkflow(f"Handler {filename}: {exc}") from exc


def _names_bound_in(module: ast.Module) -> Iterator[str]:
    """Yield the names that the code outside of functions and classes binds.

    Raises:
        _StarImport: The code has a star import.
    """
    waiting: list[ast.AST] = [module]
    while waiting:
        node = waiting.pop()
        yield from _names_bound_by(node)
        waiting.extend(_parts_in_same_scope(node))


def _names_bound_by(node: ast.AST) -> Iterator[str]:
    """Yield the names that this very node binds, leaving out its parts."""
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Name(id=name, ctx=ast.Store()):
            yield name
        case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
            for alias in aliases:
                if alias.name == "*":
                    raise _StarImport
                yield alias.asname or alias.name.split(".", 1)[0]
        case (
            ast.ExceptHandler(name=str(name))
            | ast.MatchAs(name=str(name))
            | ast.MatchStar(name=str(name))
            | ast.MatchMapping(rest=str(name))
        ):
            yield name
        case _:
            pass


def _parts_in_same_scope(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the parts of a node whose bindings land in the same scope as the node itself."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield from node.decorator_list
        case ast.Lambda():
            pass
        case ast.comprehension():
            # The loop variable stays inside, but `:=` in the conditions reaches the scope around.
            yield from (node.iter, *node.ifs)
        case ast.AnnAssign(value=None):
            # `name: type` declares without binding.
            pass
        case _:
            yield from ast.iter_child_nodes(node)
