"""Arguments that several commands have, and how shells complete them."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

#: Functions of the completion scripts: of workflows' names, of operations, of both, and of files.
NAMES = {"bash": "_wfmgmt_names", "zsh": "_wfmgmt_names"}
OPERATIONS = {"bash": "_wfmgmt_operations", "zsh": "_wfmgmt_operations"}
OPERATIONS_AND_NAMES = {"bash": "_wfmgmt_operations_and_names", "zsh": "_wfmgmt_operations_and_names"}
FILES = {"bash": "_shtab_compgen_files", "zsh": "_files"}


class Named(NamedTuple):
    """A workflow, or one version of it, as it is typed."""

    workflow: str
    version: str | None

    def __str__(self) -> str:
        return self.workflow if self.version is None else f"{self.workflow}/{self.version}"


def version_argument(parser: argparse.ArgumentParser) -> None:
    """Add the name of a workflow, perhaps with a version."""
    name = parser.add_argument("name", type=_named, metavar="NAME[/VERSION]", help="the workflow, or a version of it")
    completed(name, NAMES)


def workflow_argument(parser: argparse.ArgumentParser) -> None:
    """Add the name of a workflow."""
    completed(parser.add_argument("name", type=_workflow, metavar="NAME", help="the workflow"), NAMES)


def completed(argument: argparse.Action, functions: Mapping[str, str]) -> None:
    """Have an argument completed by a function of each shell's script."""
    argument.complete = functions  # type: ignore[attr-defined] # shtab looks for it there


def _named(text: str) -> Named:
    workflow, slash, version = text.partition("/")
    return Named(workflow, version if slash else None)


def _workflow(text: str) -> str:
    if "/" in text:
        raise argparse.ArgumentTypeError(f"expected the name of a workflow, without a version, got {text!r}")
    return text


def readable(text: str) -> Path:
    """Return a file that can be read, for argparse."""
    path = Path(text)
    try:
        with path.open("rb"):
            return path
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error.strerror}") from error
