"""Finding and starting the code that a handler string names.

The forms are TorchServe's: `module`, `module.py`, `module:function` and `module.py:function`. Folders before the
module's name are dropped, since archivers put the file at the top of the archive. Without a function, the module's
function `handle` is the entry point, or else the one class that has a method `handle`. A bare name for which the
archive has no file is a handler of torchserve itself.

Source:
    TorchServe 0.12.0, "Custom Service", "custom handler with module level entry point" and "with class level entry
    point", and the recorded behaviour of its model loader.
"""

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

from wfmgmt.serving.models.local.context import Context

EntryPoint = Callable[[Any, Context], Any]

_BUILT_IN_PACKAGE = "ts.torch_handler"


class HandlerNotFound(Exception):
    """The handler string leads to nothing that can be called; the text says why."""


class HandlerName(NamedTuple):
    """A handler string, taken apart.

    Attributes:
        module: Name under which the module is imported.
        function: Function asked for; None for "whatever the module offers".
        is_bare: Whether it could also be the name of a handler of torchserve.
    """

    module: str
    function: str | None
    is_bare: bool


def parse_handler(handler: str) -> HandlerName:
    """Take a handler string apart.

    Raises:
        HandlerNotFound: It does not name a module.
    """
    path, colon, function = handler.partition(":")
    module = path.removesuffix(".py").rpartition("/")[2]
    if not module.isidentifier():
        raise HandlerNotFound(f"handler {handler!r} does not name a Python module")
    return HandlerName(module, function or None, is_bare=module == path and not colon)


def load_entry_point(handler: str, context: Context) -> EntryPoint:
    """Import the handler, initialise it once, and return what is to be called with data.

    A function is initialised by calling it with None for data, an object by its method `initialize`. Both run the
    archive's code and can raise anything.

    Raises:
        HandlerNotFound: The handler string leads to nothing that can be called.
    """
    name = parse_handler(handler)
    module = _import_module(name, context.system_properties["model_dir"])
    function = getattr(module, name.function or "handle", None)
    if callable(function) and not isinstance(function, type):
        function(None, context)
        entry_point: EntryPoint = function
        return entry_point
    handler_class = function if isinstance(function, type) else _find_class(module, name)
    return _start_instance(handler_class, context)


def _import_module(name: HandlerName, directory: str) -> ModuleType:
    path = _find_file(name.module, directory)
    if path is not None:
        return _import_file(name.module, path)
    if name.is_bare:
        return _import_built_in(name.module)
    raise HandlerNotFound(f"handler file {name.module}.py is not in the archive")


def _find_file(module: str, directory: str) -> str | None:
    for candidate in (f"{module}.py", f"{module}/__init__.py"):
        path = os.path.join(directory, candidate)  # noqa: PTH118 - pathlib would cost each worker memory
        if os.path.isfile(path):  # noqa: PTH113 - see above
            return path
    return None


def _import_file(module_name: str, path: str) -> ModuleType:
    """Import by file and not by name, because the interpreter may already hold a module of that name."""
    loaded = sys.modules.get(module_name)
    if loaded is not None and getattr(loaded, "__file__", None) == path:
        return loaded
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise HandlerNotFound(f"handler file {module_name}.py cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    return module


def _import_built_in(module_name: str) -> ModuleType:
    qualified = f"{_BUILT_IN_PACKAGE}.{module_name}"
    try:
        return importlib.import_module(qualified)
    except ModuleNotFoundError as exc:
        if exc.name == "ts":
            why = "torchserve, which may have a handler of that name, is not installed"
        elif exc.name in {_BUILT_IN_PACKAGE, qualified}:
            why = "torchserve has no handler of that name"
        else:
            raise
        raise HandlerNotFound(f"handler file {module_name}.py is not in the archive, and {why}") from exc


def _find_class(module: ModuleType, name: HandlerName) -> type:
    own = [value for value in vars(module).values() if isinstance(value, type) and value.__module__ == module.__name__]
    candidates = {value.__qualname__: value for value in own if callable(getattr(value, "handle", None))}
    if len(candidates) == 1:
        return next(iter(candidates.values()))
    if candidates:
        raise HandlerNotFound(
            f"{name.module}.py has several classes with a method handle: {', '.join(sorted(candidates))}"
        )
    wanted = f"function {name.function}" if name.function else "function handle"
    raise HandlerNotFound(f"{name.module}.py has neither a {wanted} nor a class with a method handle")


def _start_instance(handler_class: type, context: Context) -> EntryPoint:
    if not callable(getattr(handler_class, "handle", None)):
        raise HandlerNotFound(f"class {handler_class.__qualname__} has no method handle")
    instance = handler_class()
    initialize = getattr(instance, "initialize", None)
    if initialize is not None:
        initialize(context)
    entry_point: EntryPoint = instance.handle
    return entry_point
