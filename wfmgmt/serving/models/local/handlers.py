"""Finding and starting the code that a handler string names.

The module's name may be any that Python's import system takes, so that it is found as a package or compiled, too.
Without a function, the module's function `handle` is the entry point, or else the one class that has a method `handle`.
What the archive does not have may be installed, and a bare name may be a handler of torchserve itself.

Source:
    TorchServe 0.12.0, "Custom Service", "custom handler with module level entry point" and "with class level entry
    point", and the recorded behaviour of its model loader.
"""

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType
from typing import Any

from wfmgmt.domain.handler_strings import HandlerName, parse_handler
from wfmgmt.serving.models.local.context import Context

EntryPoint = Callable[[Any, Context], Any]

_BUILT_IN_PACKAGE = "ts.torch_handler"


class HandlerNotFound(Exception):
    """The handler string leads to nothing that can be called; the text says why."""


def load_entry_point(handler: str, context: Context) -> EntryPoint:
    """Import the handler, initialise it once, and return what is to be called with data.

    A function is initialised by calling it with None for data, an object by its method `initialize`. Both run the
    archive's code and can raise anything.

    Raises:
        HandlerNotFound: The handler string leads to nothing that can be called.
    """
    try:
        name = parse_handler(handler)
    except ValueError as exc:
        raise HandlerNotFound(str(exc)) from exc
    module = _import_module(name, context.system_properties["model_dir"])
    function = getattr(module, name.function or "handle", None)
    if callable(function) and not isinstance(function, type):
        function(None, context)
        entry_point: EntryPoint = function
        return entry_point
    handler_class = function if isinstance(function, type) else _find_class(module, name)
    return _start_instance(handler_class, context)


def _import_module(name: HandlerName, directory: str) -> ModuleType:
    """Import the module from the archive, or else from what is installed, as TorchServe does."""
    module = _import_from(name.module, directory)
    if module is None and name.folder:
        folder = os.path.join(directory, name.folder)  # noqa: PTH118 - pathlib would cost each worker memory
        sys.path.insert(1, folder)  # Behind the archive's own folder.
        module = _import_from(name.module, folder)
    if module is not None:
        return module
    try:
        return importlib.import_module(name.module)
    except ModuleNotFoundError as exc:
        if not _is_part(exc.name, name.module):
            raise
    if name.is_bare:
        return _import_built_in(name.module)
    raise HandlerNotFound(f"handler file {name.module}.py is not in the archive")


def _import_from(module_name: str, folder: str) -> ModuleType | None:
    """Import a module from a folder, its packages first; return None when the folder does not have it.

    It is imported by file and not by name, because the interpreter may already hold a module of that name.
    """
    parts = module_name.split(".")
    found: ModuleType | None = None
    locations: Sequence[str] = [folder]
    for depth, part in enumerate(parts, 1):
        spec = PathFinder.find_spec(".".join(parts[:depth]), locations)
        if spec is None or (depth == len(parts) and not spec.has_location):
            break
        package, found = found, _import_spec(spec)
        if package is not None:
            setattr(package, part, found)
        locations = spec.submodule_search_locations or ()
    else:
        return found
    # Dots in the name of a file are no packages.
    path = os.path.join(folder, f"{module_name}.py")  # noqa: PTH118 - pathlib would cost each worker memory
    spec = spec_from_file_location(module_name, path) if os.path.isfile(path) else None  # noqa: PTH113
    return None if spec is None else _import_spec(spec)


def _import_spec(spec: ModuleSpec) -> ModuleType:
    loaded = sys.modules.get(spec.name)
    if loaded is not None and spec.has_location and getattr(loaded, "__file__", None) == spec.origin:
        return loaded
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    if spec.loader is not None:
        spec.loader.exec_module(module)
    return sys.modules.get(spec.name, module)  # A module may put something else in its place.


def _is_part(missing: str | None, module_name: str) -> bool:
    """Return whether the import of a module failed for want of itself or of one of its packages."""
    return missing is not None and f"{module_name}.".startswith(f"{missing}.")


def _import_built_in(module_name: str) -> ModuleType:
    qualified = f"{_BUILT_IN_PACKAGE}.{module_name}"
    try:
        return importlib.import_module(qualified)
    except ModuleNotFoundError as exc:
        if exc.name == "ts":
            why = "torchserve, which may have a handler of that name, is not installed"
        elif _is_part(exc.name, qualified):
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
