"""`wfmgmt releases`, `set-default`, `traffic`, `rollout` and `rollback`."""

import argparse
import json
import re
import sys
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

from wfmgmt.cli.remote.arguments import FILES, completed, workflow_argument
from wfmgmt.cli.remote.command import RemoteCommand, write_options
from wfmgmt.cli.remote.operations import followed
from wfmgmt.cli.remote.text import milliseconds, properties, shares, table
from wfmgmt.client import calls
from wfmgmt.client.call import Call, as_json
from wfmgmt.client.traffic import Guard, Release, Released, Step, Traffic, VersionFigures
from wfmgmt.logs import escaped

#: A version with this share, in percent, leaves none to others.
_WHOLE = 100


def _releases_text(_: argparse.Namespace, releases: tuple[Release, ...]) -> str:
    rows = [
        (each.number, f"{each.at:%Y-%m-%d %H:%M:%S}", each.actor, each.kind, shares(each.routes), each.reason or "-")
        for each in releases
    ]
    return table(("RELEASE", "MADE", "BY", "KIND", "ROUTES", "REASON"), rows)


def _earlier_releases(options: argparse.Namespace, page: tuple[Release, ...]) -> Call[Any] | None:
    return calls.release_page(options.name, before=page[-1].number) if len(page) == calls.MAX_PAGE else None


def _released_text(_: argparse.Namespace, released: Released) -> str:
    return escaped(released.status)


def _set_default_arguments(parser: argparse.ArgumentParser) -> None:
    workflow_argument(parser)
    parser.add_argument("version", metavar="VERSION", help="the version that gets all requests")


def _rollout_arguments(parser: argparse.ArgumentParser) -> None:
    workflow_argument(parser)
    parser.add_argument("action", choices=("pause", "resume", "promote", "abort"), help="what to do with the rollout")


def _rollback_arguments(parser: argparse.ArgumentParser) -> None:
    workflow_argument(parser)
    parser.add_argument("--to", type=int, metavar="N", help="the release to repeat; the one before unless given")


def _traffic_arguments(parser: argparse.ArgumentParser) -> None:
    workflow_argument(parser)
    parser.add_argument(
        "routes", nargs="*", metavar="V=WEIGHT", help="shares in percent; one alone is taken from the default version"
    )
    parser.add_argument("--mirror", metavar="V=P", help="a version that gets copies of some percent of the requests")
    parser.add_argument("--sticky", metavar="HEADER", help="requests with the same value of it go to the same version")
    parser.add_argument(
        "--guard", nargs="+", metavar="K=V", help="when the newer version loses its share, like maxErrorRate=0.05"
    )
    file = parser.add_argument("-f", "--file", metavar="FILE", help="a routing table as JSON; - for standard input")
    completed(file, FILES)


def _traffic(options: argparse.Namespace) -> Call[Any]:
    """Return a question without a table, the change of one share, or that of the whole table."""
    shares_given = _pairs("V=WEIGHT", options.routes)
    parts: dict[str, object] = {}
    if options.mirror is not None:
        ((version, percent),) = _pairs("--mirror", [options.mirror])
        parts["mirror"] = {"version": version, "percent": percent}
    if options.sticky is not None:
        parts["sticky"] = {"header": options.sticky}
    if options.guard is not None:
        parts["guard"] = dict(_pairs("--guard", options.guard))
    if options.file is not None:
        if shares_given or parts:
            raise ValueError("--file has a whole routing table; leave the rest out")
        return calls.set_traffic(options.name, _table(options.file), **write_options(options))
    match shares_given:
        case [] if not parts:
            return calls.traffic(options.name)
        case []:
            raise ValueError("a routing table is changed as a whole: name the shares, too, like 1.0=90 2.0=10")
        case [(version, weight)] if weight != _WHOLE and not parts:
            return calls.set_share(options.name, version, weight, **write_options(options))
    routes = [{"version": version, "weight": weight} for version, weight in shares_given]
    return calls.set_traffic(options.name, {"routes": routes, **parts}, **write_options(options))


def _pairs(option: str, texts: Iterable[str]) -> list[tuple[str, Any]]:
    """Return names and numbers; which names and numbers are right is for the service to say."""
    pairs = []
    for text in texts:
        found = re.fullmatch(r"(.+)=(-?[0-9]+)(\.[0-9]+)?", text, re.DOTALL)
        if found is None:
            raise ValueError(f"{option}: expected a name and a number, like 2.0=10, got {text!r}")
        name, whole, fraction = found.groups()
        pairs.append((name, int(whole) if fraction is None else float(whole + fraction)))
    return pairs


def _table(path: str) -> dict[str, Any]:
    """Return what a file has, as it is."""
    try:
        value = json.loads(sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path}: expected a JSON object")  # noqa: TRY004 - the file is wrong, not a type of ours
    return value


def _traffic_text(options: argparse.Namespace, answer: Traffic | Released) -> str:
    if isinstance(answer, Released):
        return _released_text(options, answer)
    headings = ("VERSION", "WEIGHT", "REQUESTS", "FAILURES", "P50", "P99", "INFLIGHT", "PINNED", "COPIES", "DROPPED")
    weights = {route.version: route.weight for route in answer.routes}
    versions = dict.fromkeys((*weights, *answer.figures))
    rows = [(each, weights.get(each, 0), *_figures(answer.figures.get(each))) for each in versions]
    return f"{_about(answer)}\n\n{table(headings, rows)}"


def _about(traffic: Traffic) -> str:
    """Return what the release says beside shares, and whether the runtime follows it."""
    in_force = traffic.in_force
    is_current = in_force is not None and in_force.release == traffic.release
    others = {
        "Mirror": traffic.mirror and f"{traffic.mirror.version}={traffic.mirror.percent}",
        "Sticky": traffic.sticky and traffic.sticky.header,
        "Guard": traffic.guard and _bounds(traffic.guard),
        "Steps": traffic.steps and " ".join(_step(step) for step in traffic.steps) + " (paused)" * traffic.paused,
    }
    number = f"{traffic.release}{'' if is_current else ' (not in force yet)'}"
    return properties(Release=number, **{name: value for name, value in others.items() if value})


def _bounds(guard: Guard) -> str:
    return " ".join(f"{name}={value:g}" for name, value in as_json(guard).items())


def _step(step: Step) -> str:
    return f"{step.weight}" if step.for_seconds is None else f"{step.weight}:{step.for_seconds}s"


def _figures(figures: VersionFigures | None) -> tuple[object, ...]:
    if figures is None:
        return ("-",) * 8
    times = map(milliseconds, (figures.p50_ms, figures.p99_ms))
    mirrored = figures.mirrored
    others = (figures.in_flight, figures.pinned.requests, mirrored.requests, mirrored.dropped)
    return (figures.requests, figures.failures, *times, *others)


def _traffic_names(options: argparse.Namespace, answer: Traffic | Released) -> list[str]:
    if isinstance(answer, Released):
        return [options.name]
    return [f"{options.name}/{each.version}" for each in answer.routes]


COMMANDS: dict[str, RemoteCommand[Any]] = {
    "releases": RemoteCommand(
        arguments=workflow_argument,
        call=lambda options: calls.release_page(options.name),
        show=_releases_text,
        names=lambda _, releases: [str(each.number) for each in releases],
        following=_earlier_releases,
        joined=lambda pages: tuple(chain.from_iterable(pages)),
    ),
    "set-default": followed(
        RemoteCommand(
            arguments=_set_default_arguments,
            call=lambda options: calls.set_default(options.name, options.version, **write_options(options)),
            show=_released_text,
            names=lambda options, _: [f"{options.name}/{options.version}"],
            is_write=True,
        )
    ),
    "traffic": followed(
        RemoteCommand(
            arguments=_traffic_arguments, call=_traffic, show=_traffic_text, names=_traffic_names, is_write=True
        )
    ),
    "rollout": followed(
        RemoteCommand(
            arguments=_rollout_arguments,
            call=lambda options: calls.rollout(options.name, options.action, **write_options(options)),
            show=_released_text,
            names=lambda options, _: [options.name],
            is_write=True,
        )
    ),
    "rollback": followed(
        RemoteCommand(
            arguments=_rollback_arguments,
            call=lambda options: calls.rollback(options.name, to=options.to, **write_options(options)),
            show=_released_text,
            names=lambda options, _: [options.name],
            is_write=True,
        )
    ),
}
