"""`wfmgmt apply`, `drift` and `diff`."""

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wfmgmt.cli.remote.arguments import FILES, NAMES, completed
from wfmgmt.cli.remote.command import ExitCode, RemoteCommand
from wfmgmt.cli.remote.operations import followed
from wfmgmt.cli.remote.plans import change_text, diff_text
from wfmgmt.cli.remote.text import table
from wfmgmt.client import calls, declared_calls
from wfmgmt.client.call import Call
from wfmgmt.client.declared import Applied, ApplyResults, Drifted
from wfmgmt.client.plans import Diff
from wfmgmt.domain.declaration_files import DeclarationInvalid, parse_declaration
from wfmgmt.domain.declared import DeclaredWorkflow, declaration_json
from wfmgmt.logs import escaped

_SUFFIXES = (".yaml", ".yml", ".json")


def file_argument(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """Add the file of a declaration."""
    file = parser.add_argument(
        "-f", "--file", metavar="FILE", required=required, help="a declaration; a folder of such; - for standard input"
    )
    completed(file, FILES)
    parser.add_argument("--source", metavar="S", help="where it is declared; default unless given")
    parser.add_argument("--prune", action="store_true", help="remove what this source does not declare any more")
    parser.add_argument("--adopt", action="store_true", help="take workflows over that come from elsewhere")


def _apply_arguments(parser: argparse.ArgumentParser) -> None:
    file_argument(parser, required=True)
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done; exit with 5 if anything")
    parser.add_argument("--reason", metavar="TEXT", help="why, for the audit trail")
    parser.add_argument(
        "--wait", action=argparse.BooleanOptionalAction, default=True, help="wait for the end, which is the default"
    )


def apply_call(options: argparse.Namespace, *, dry_run: bool, reason: str | None = None) -> Call[ApplyResults]:
    """Return the request that brings workflows to what files declare, or finds out what that would do."""
    return declared_calls.apply(
        declaration_json(_declared(options.file)),
        source=options.source,
        prune=options.prune or None,
        adopt=options.adopt or None,
        dry_run=dry_run or None,
        reason=reason,
    )


def _declared(file: str) -> dict[str, DeclaredWorkflow]:
    """Return what a file, or all files of a folder, declare.

    Raises:
        DeclarationInvalid: Something in them is wrong; the text has a line for each file.
    """
    found: dict[str, DeclaredWorkflow] = {}
    origin: dict[str, str] = {}
    problems = []
    for name, text in _texts(file):
        try:
            declared = parse_declaration(text, file=name)
        except DeclarationInvalid as error:
            problems.append(str(error))
            continue
        twice = [workflow for workflow in declared if workflow in found]
        problems += [f"{name}: workflows.{workflow}: is declared in {origin[workflow]}, too." for workflow in twice]
        found |= declared
        origin |= dict.fromkeys(declared, name)
    if problems:
        raise DeclarationInvalid("\n".join(problems))
    return found


def _texts(file: str) -> Iterator[tuple[str, str]]:
    if file == "-":
        yield "standard input", sys.stdin.read()
        return
    path = Path(file)
    paths = sorted(each for each in path.iterdir() if each.suffix in _SUFFIXES) if path.is_dir() else [path]
    if not paths:
        raise DeclarationInvalid(f"{file}: there is no file in it that ends in {', '.join(_SUFFIXES)}.")
    for each in paths:
        try:
            yield str(each), each.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise DeclarationInvalid(f"{each}: expected text in UTF-8.") from error


def results_text(results: ApplyResults) -> str:
    """Return what became of workflows, or would, one thing a line; those that nothing is to be done to are counted."""
    same = sum(each.action == "none" and each.error is None for each in results.results)
    lines = [line for each in results.results for line in _lines(each)]
    return "\n".join([*map(escaped, lines), f"{same} as declared, {len(results.results) - same} not"])


def _lines(applied: Applied) -> Iterator[str]:
    if applied.action == "none" and applied.error is None:
        return
    error = "" if applied.error is None else f": {applied.error.message}"
    yield f"{applied.action} {applied.workflow}{error}"
    yield from (f"  {change_text(change)}" for change in applied.changes)


def results_code(results: ApplyResults) -> ExitCode:
    """Return the exit code that stands for results."""
    return ExitCode.CHANGES if results.dry_run and not results.is_empty else ExitCode.DONE


def _drift_text(_: argparse.Namespace, found: tuple[Drifted, ...]) -> str:
    headings = ("WORKFLOW", "WHAT", "DECLARED", "FOUND", "CHANGED", "BY")
    rows = [
        (
            each.workflow,
            each.path,
            "-" if each.declared is None else _shown(each.declared),
            "-" if each.found is None else _shown(each.found),
            "-" if each.since is None else f"{each.since:%Y-%m-%d %H:%M}",
            each.actor or "-",
        )
        for each in found
    ]
    return table(headings, rows) if rows else "nothing drifted"


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{name}={each}" for name, each in value.items())
    return str(value)


def _diff_arguments(parser: argparse.ArgumentParser) -> None:
    versions = parser.add_argument(
        "versions", nargs="*", metavar="NAME V1 V2", help="a workflow, and two versions of it that are compared"
    )
    completed(versions, NAMES)
    file_argument(parser, required=False)


def _diff(options: argparse.Namespace) -> Call[Any]:
    """Return the question how two versions differ, or what a file declares from what is there."""
    if options.file is not None and not options.versions:
        return apply_call(options, dry_run=True)
    if options.file is not None or len(options.versions) != len(("NAME", "V1", "V2")):
        raise ValueError("expected NAME V1 V2, or -f FILE")
    name, old, new = options.versions
    return calls.diff(name, old, new)


def _diff_text(_: argparse.Namespace, found: Diff | ApplyResults) -> str:
    return results_text(found) if isinstance(found, ApplyResults) else diff_text(found)


def _diff_names(_: argparse.Namespace, found: Diff | ApplyResults) -> list[str]:
    if isinstance(found, ApplyResults):
        return [each.workflow for each in found.results if each.action != "none"]
    return [change.path for change in found.changes]


COMMANDS: dict[str, RemoteCommand[Any]] = {
    "apply": followed(
        RemoteCommand(
            arguments=_apply_arguments,
            call=lambda options: apply_call(options, dry_run=options.dry_run, reason=options.reason),
            show=lambda _, results: results_text(results),
            names=lambda _, results: [each.workflow for each in results.results],
            code=results_code,
        ),
        has_options=False,
    ),
    "drift": RemoteCommand(
        arguments=lambda _: None,
        call=lambda _: declared_calls.drift(),
        show=_drift_text,
        names=lambda _, found: sorted({each.workflow for each in found}),
        code=lambda found: ExitCode.CHANGES if found else ExitCode.DONE,
    ),
    "diff": RemoteCommand(
        arguments=_diff_arguments,
        call=_diff,
        show=_diff_text,
        names=_diff_names,
        code=lambda diff: ExitCode.DONE if diff.is_empty else ExitCode.CHANGES,
    ),
}
