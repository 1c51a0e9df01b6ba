"""Handler strings: how manifests name the code that answers."""

from importlib.machinery import all_suffixes
from typing import NamedTuple

#: Python imports the packages of a module one inside of the other, and fails when there are very many.
_MAX_PARTS = 50


class HandlerName(NamedTuple):
    """The parsed form of a handler string.

    Attributes:
        module: Name under which the module is imported, with dots when it is in a package.
        folder: Folder of the archive that the string puts it in; empty for the top.
        function: Function asked for; None for what the module offers.
        is_file: Whether the string names a file, and not a module that may also be installed.
        is_bare: Whether it could also be the name of a handler of torchserve.
    """

    module: str
    folder: str
    function: str | None
    is_file: bool
    is_bare: bool


def parse_handler(handler: str) -> HandlerName:
    """Take a handler string apart: `module`, `module.py`, `module:function` or `module.py:function`, maybe in a folder.

    Archivers put the file at the top of the archive and drop its folder, so that is only where else to look.

    Raises:
        ValueError: It does not name a module.

    Source:
        TorchServe 0.12.0, model_loader.py.
    """
    path, colon, function = handler.partition(":")
    folder, _, module = path.removesuffix(".py").rpartition("/")
    parts = module.split(".")
    if not all(parts) or len(parts) > _MAX_PARTS:
        raise ValueError(f"handler {handler!r} does not name a Python module")
    steps = [step for step in folder.split("/") if step not in {"", "."}]
    return HandlerName(
        module=module,
        folder="" if ".." in steps else "/".join(steps),
        function=function or None,
        is_file=path.endswith(".py"),
        is_bare=module == path and not colon,
    )


def handler_file(name: HandlerName, files: frozenset[str]) -> str | None:
    """Return which file of an archive the import system takes for the module, None when there is none.

    Args:
        name: The handler.
        files: Names of all files in the archive.
    """
    for folder in dict.fromkeys(("", f"{name.folder}/" if name.folder else "")):
        # Dots are folders, but a file may also have them in its name.
        for stem in dict.fromkeys((name.module.replace(".", "/"), name.module)):
            for base in (f"{folder}{stem}/__init__", f"{folder}{stem}"):
                for suffix in all_suffixes():
                    if f"{base}{suffix}" in files:
                        return f"{base}{suffix}"
    return None
