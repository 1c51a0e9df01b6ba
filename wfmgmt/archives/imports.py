"""Which modules the code of an archive imports, and where they would come from, found out without running it."""

import ast
import importlib.util
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum

from packaging.utils import canonicalize_name

from wfmgmt.archives.handler_names import parse_module
from wfmgmt.archives.reading import ArchiveReader
from wfmgmt.errors import InvalidArchive, InvalidWorkflow

MAX_IMPORTS = 1000
#: Parts of a module's name that are looked for in the archive: a name may have as many as its file has room for.
_MAX_PARTS = 32


class ModuleSource(StrEnum):
    """Where a module comes from."""

    STANDARD = "standard"
    ARCHIVE = "archive"
    INSTALLED = "installed"
    REQUIREMENTS = "requirements"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedModule:
    """A module that code imports, by its name before the first dot.

    Attributes:
        name: Its name.
        available: Whether workers find it; None when that is open, since libraries that are to be installed may have
            modules of other names.
        source: Where it comes from; None when that is not known.
    """

    name: str
    available: bool | None
    source: ModuleSource | None


class ArchiveCode:
    """The Python code in an archive that its handler leads to.

    Args:
        archive: The archive.
        folder: Where else than at its top modules are looked for; empty for nowhere else.
        max_bytes: How much of the code is looked at, beside the handler.
    """

    def __init__(self, archive: ArchiveReader, folder: str, max_bytes: int) -> None:
        self._archive = archive
        self._files = frozenset(archive.names)
        self._roots = ("", f"{folder}/") if folder else ("",)
        self._tops = frozenset(
            name.removeprefix(root).partition("/")[0].partition(".")[0]
            for root in self._roots
            for name in self._files
            if name.startswith(root)
        )
        self._left_bytes = max_bytes

    def imported(self, module: ast.Module, file: str) -> set[str]:
        """Return what a file imports, and what the files of the archive import that it leads to."""
        found: set[str] = set()
        seen = {file}
        waiting = [(file, module)]
        while waiting:
            file, module = waiting.pop()
            for name in _imported(module, file):
                if not name.startswith("/"):
                    found.add(name.partition(".")[0])
                for there in self._files_of(name):
                    if there not in seen:
                        seen.add(there)
                        waiting += self._module(there)
        return found

    def _files_of(self, name: str) -> Iterator[str]:
        """Yield the files that run when a module is imported: its own, and those of the packages that it is in."""
        parts = name.removeprefix("/").split(".", _MAX_PARTS)[:_MAX_PARTS]
        for root in ("",) if name.startswith("/") else self._roots:
            for count in range(1, len(parts) + 1):
                stem = root + "/".join(parts[:count])
                yield from {f"{stem}.py", f"{stem}/__init__.py"} & self._files

    def _module(self, file: str) -> list[tuple[str, ast.Module]]:
        """Return a file and what it says; nothing for one that cannot be understood, which only running it shows."""
        size = self._archive.size(file)
        if size > self._left_bytes:
            return []
        self._left_bytes -= size
        try:
            module = parse_module(self._archive.read(file, size), file)
        except (InvalidArchive, InvalidWorkflow):
            return []
        return [] if module is None else [(file, module)]

    def sources(self, names: Collection[str], listed: Collection[str] | None) -> tuple[ImportedModule, ...]:
        """Return where modules come from, those that nothing has first.

        Args:
            names: Of the modules.
            listed: Libraries that are installed for this archive, as pip calls them; None when none are.
        """
        modules = [self._source(name, listed) for name in sorted(names)[:MAX_IMPORTS]]
        return tuple(sorted(modules, key=lambda module: (module.source is not None, module.name)))

    def _source(self, name: str, listed: Collection[str] | None) -> ImportedModule:
        source = None
        if name in sys.stdlib_module_names:
            source = ModuleSource.STANDARD
        elif name in self._tops:
            source = ModuleSource.ARCHIVE
        elif is_installed(name):
            source = ModuleSource.INSTALLED
        elif canonicalize_name(name) in (listed or ()):
            source = ModuleSource.REQUIREMENTS
        is_open = source is None and bool(listed)
        return ImportedModule(name=name, available=None if is_open else source is not None, source=source)


def is_installed(name: str) -> bool:
    """Return whether there is a module of this name, which has no dots, where this process runs; none is imported."""
    try:
        return importlib.util.find_spec(name) is not None
    except (ValueError, ImportError):  # A module that was put there by hand has no spec.
        return name in sys.modules


def _imported(module: ast.Module, file: str) -> Iterator[str]:
    """Yield the names of what a module imports; those of its own package begin with a slash and the folders of it."""
    folders = file.split("/")[:-1]
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = folders[: len(folders) - node.level + 1] if node.level else []
            parts += (node.module or "").split(".", _MAX_PARTS)
            base = "".join(f"{part}." for part in parts[:_MAX_PARTS] if part)
            yield from (f"{'/' if node.level else ''}{base}{alias.name}" for alias in node.names)
