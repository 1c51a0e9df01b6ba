"""Which names a handler file defines, found out without running it."""

import ast
import re
import threading
import warnings
from collections.abc import Iterator

from wfmgmt.errors import InvalidWorkflow

# `warnings.catch_warnings` swaps a list that all threads share; two at once could leave the wrong one in place.
_warnings_lock = threading.Lock()

# Python takes quadratic time for the fields of an f-string (until 3.11), and quadratic memory for a dotted name that is
# imported: half a minute, or more memory than there is, for one that fills a handler file.
_F_STRING = re.compile(rb"[fF][rR]?['\"]")
_MAX_FIELDS = 10_000
# It takes 2 KB and some microseconds for a token, during which no other thread runs; the longest modules of libraries
# have more than this, and handlers a few thousand.
_TOKEN = re.compile(rb"[\w\x80-\xff]++|[^\s\w]")
_MAX_TOKENS = 60_000
_WORD, _SPACE = rb"[\w\x80-\xff]*+", rb"[\s\\]*+"
_DOTTED = re.compile(rb"(?:\b(?:import|from)|,)%b%b(?:%b\.%b%b)++" % (_SPACE, _WORD, _SPACE, _SPACE, _WORD))
_MAX_DOTTED_BYTES = 1000

#: Ways to make names of a module that its definitions, assignments and imports do not show.
_MAKERS = frozenset(
    (
        *("globals", "locals", "vars", "exec", "eval", "setattr", "__dict__", "__getattr__", "modules"),
        *("__import__", "import_module", "_getframe", "currentframe", "f_globals", "f_locals"),
    )
)


def defined_names(source: str, filename: str) -> frozenset[str] | None:
    """Return the names that exist in a module after it was imported, as far as its source shows.

    Definitions, assignments and imports at module level count, also inside `if`, `try`, `with`, loops and `match`,
    whichever branch would run, and what functions declare as `global`.

    Args:
        source: Text of the module.
        filename: How messages call it.

    Returns:
        The names, or None when only running the module can show them: it has a star import, code that can make names
        (`globals()`, `setattr`, `exec`, a decorator, a call that stands alone, …), or a class, which may stand in
        for functions; or it would take too long to parse.

    Raises:
        InvalidWorkflow: The source is not a Python module.
    """
    module = parse_module(source, filename)
    if module is None:
        return None
    if any(_makes_names(node) for node in ast.walk(module)) or any(_runs_code(node) for node in _scope(module)):
        return None
    names = {name for node in _scope(module) for name in _names_bound_by(node)}
    return frozenset(names.union(*(node.names for node in ast.walk(module) if isinstance(node, ast.Global))))


def function_lines(module: ast.Module) -> dict[str, int]:
    """Return where the functions of a module begin, as far as its source shows, as in `defined_names`."""
    return {
        node.name: node.lineno for node in _scope(module) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def check_source(source: bytes, filename: str) -> None:
    """Refuse what Python could not import.

    Args:
        source: Content of the file, in the encoding that it declares.
        filename: How messages call it.

    Raises:
        InvalidWorkflow: The source is not a Python module.
    """
    parse_module(source, filename)


def parse_module(source: str | bytes, filename: str) -> ast.Module | None:
    """Return the syntax tree of a module, None for one that would take too long; only running that shows what it has.

    A warning about its style is no business of the server's log.

    Raises:
        InvalidWorkflow: The source is not a Python module.
    """
    if _takes_long(source.encode(errors="surrogatepass") if isinstance(source, str) else source):
        return None
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


def _takes_long(source: bytes) -> bool:
    """Return whether parsing may take more than a second or two: what looks like it does, too, which does no harm."""
    if len(source) > _MAX_TOKENS and sum(1 for _ in _TOKEN.finditer(source)) > _MAX_TOKENS:
        return True
    has_many_fields = source.count(b"{") > _MAX_FIELDS and _F_STRING.search(source) is not None
    return has_many_fields or any(len(each[0]) > _MAX_DOTTED_BYTES for each in _DOTTED.finditer(source))


def _makes_names(node: ast.AST) -> bool:
    """Return whether names may come from this node itself, at any place, leaving out its parts."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.FunctionDef(name=name) | ast.alias(name=name):
            return name in _MAKERS or name == "*"
        case _:
            return False


def _runs_code(node: ast.AST) -> bool:
    """Return whether this statement of the module has other code run, which can change the module as it likes."""
    match node:
        case ast.ClassDef() | ast.Expr(value=ast.Call() | ast.Await()):
            return True
        case ast.FunctionDef(decorator_list=decorators) | ast.AsyncFunctionDef(decorator_list=decorators):
            return bool(decorators)
        case _:
            return False


def _scope(module: ast.Module) -> Iterator[ast.AST]:
    """Yield the nodes that are outside of functions and classes."""
    waiting: list[ast.AST] = [module]
    while waiting:
        node = waiting.pop()
        yield node
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
