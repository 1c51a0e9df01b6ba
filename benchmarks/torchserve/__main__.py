"""The command: `python -m benchmarks.torchserve [PART …]`."""

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.figures import machine
from benchmarks.torchserve import answers, installation, lifecycle, load, over
from benchmarks.torchserve.comparison import SERVERS, Comparison, table
from benchmarks.torchserve.contest import Contest, Terms

PARTS: dict[str, Callable[[Contest, Terms], list[Comparison]]] = {
    "answers": answers.comparing,
    "sequential": load.sequential,
    "between-stalls": load.between_stalls,
    "parallel": load.parallel,
    "single": load.single,
    "large": load.large,
    "endurance": load.enduring,
    "over": over.over_torchserve,
    "register": lifecycle.registering,
    "memory": lifecycle.memory,
    "start": lifecycle.starting,
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks.torchserve",
        description="Compare wfmgmt with TorchServe 0.12.0.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"one of {', '.join(PARTS)}; all unless given")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each measurement")
    parser.add_argument("--seconds", type=int, default=10, help="length of a round under load")
    parser.add_argument("--workflows", type=int, default=20, help="workflows to start with")
    parser.add_argument("--requests", type=int, default=100_000, help="requests in which no stall may be")
    parser.add_argument("--venv", type=Path, help="a virtual environment that has TorchServe already")
    parser.add_argument("--only", choices=("torchserve", "wfmgmt"), help="measure one of them alone")
    arguments = parser.parse_args()
    if unknown := [part for part in arguments.parts if part not in PARTS]:
        parser.error(f"no part {unknown[0]!r}, known are {', '.join(PARTS)}")
    return arguments


def _measure(arguments: argparse.Namespace, venv: Path) -> list[Comparison]:
    names = [name for name in SERVERS if arguments.only in (None, name.split()[0].lower())]
    terms = Terms(
        rounds=arguments.rounds,
        seconds=arguments.seconds,
        workflows=arguments.workflows,
        requests=arguments.requests,
    )
    comparisons: list[Comparison] = []
    with tempfile.TemporaryDirectory() as folder:
        contest = Contest(venv, Path(folder), names)
        for part in arguments.parts or PARTS:
            print(f"measuring: {part}", file=sys.stderr)
            comparisons += PARTS[part](contest, terms)
    return comparisons


def main() -> int:
    """Measure the parts that are named, all when none is; 1 when a target is missed or nothing could be measured."""
    arguments = _arguments()
    # Python ends at once on SIGTERM, and the servers would outlive it; as an exception it ends them first.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        installation.check_programs()
        venv = arguments.venv or installation.install()
        about = f"{machine()}, {installation.versions(venv)}"
        comparisons = _measure(arguments, venv)
    except (installation.Missing, answers.AnswersDiffer) as error:
        print(f"not measured: {error}", file=sys.stderr)
        return 1
    print(f"{table(comparisons)}\n\nMachine: {about}.")
    return 1 if any(each.verdict == "MISSED" for each in comparisons) else 0


if __name__ == "__main__":
    sys.exit(main())
