"""`wfmgmt inspect`: what is in a local archive and whether it can be registered, without a service."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from wfmgmt.archives.imports import ImportedModule
from wfmgmt.archives.report import ArchiveReport, ReportedNode, ReportRules, report_on
from wfmgmt.archives.signatures import Signers
from wfmgmt.domain.archives import ArchiveKind
from wfmgmt.http.answers import json_body
from wfmgmt.logs import escaped, write_error
from wfmgmt.settings import Settings

_USAGE = 2


def describe_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes to its parser."""
    parser.add_argument("file", type=Path, metavar="FILE", help="a .war or .mar file; none of its code is run")
    parser.add_argument("-o", "--output", choices=("table", "json", "name"), default="table", help="what to print")


def run(options: argparse.Namespace) -> int:
    """Print the report of a file.

    Returns:
        0 when it can be registered, 1 when it cannot, 2 when it is not called like an archive.

    Raises:
        InvalidArchive: It cannot be read at all.
        OSError: Likewise.
    """
    file: Path = options.file
    kind = next((kind for kind in ArchiveKind if file.name.endswith(kind.suffix)), None)
    if kind is None:
        write_error(f"wfmgmt: {escaped(file.name)}: expected a file whose name ends in .war or .mar")
        return _USAGE
    settings = Settings.load()
    rules = ReportRules(
        limits=settings.limits,
        requirements=settings.model_requirements,
        has_models=settings.model_server == "local",
        signers=None if settings.signers is None else Signers(settings.signers),
    )
    report = report_on(file, kind, rules)
    if options.output == "json":
        sys.stdout.buffer.write(json_body(report.as_json()))
    elif options.output == "name":
        print(escaped(report.file))
    else:
        print("\n".join(map(escaped, _lines(report))))
    return 1 if report.problems else 0


def _lines(report: ArchiveReport) -> Iterator[str]:
    unpacked = "" if report.unpacked_bytes is None else f", {report.file_count} files of {report.unpacked_bytes} bytes"
    yield f"{report.file}: {report.kind} archive, {report.size_bytes} bytes{unpacked}, sha256 {report.sha256}"
    if report.dag is not None:
        yield f"  graph: {report.dag}"
    yield from (f"  {_node(node)}" for node in report.nodes or ())
    yield from (f"  function {each.name}: line {each.line}" for each in report.functions)
    if report.imports:
        yield f"  imports: {', '.join(map(_import, report.imports))}"
    yield from (f"  warning: {each}" for each in report.warnings)
    yield from (f"  problem: {each}" for each in report.problems)
    yield "It cannot be registered." if report.problems else "It can be registered."


def _node(node: ReportedNode) -> str:
    workers = f"{node.settings['minWorkers']} to {node.settings['maxWorkers']} workers"
    return f"{node.kind} {node.name}: {workers}" if node.url is None else f"model {node.name}: {node.url}, {workers}"


def _import(module: ImportedModule) -> str:
    if module.available:
        return module.name
    return f"{module.name} ({'perhaps with its libraries' if module.available is None else 'not installed'})"
