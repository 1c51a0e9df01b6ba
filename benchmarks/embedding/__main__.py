"""The command: `python -m benchmarks.embedding`, in an environment that has the example's libraries and TorchServe."""

import argparse
import importlib.metadata
import itertools
import signal
import sys
import tempfile
from pathlib import Path

from benchmarks.embedding import report
from benchmarks.embedding.measuring import CLIENTS, AnswersDiffer, measure, write_script
from benchmarks.embedding.servers import SERVERS, Stores, run
from benchmarks.figures import machine, table
from benchmarks.torchserve import installation
from examples.real.build import WORKFLOW


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks.embedding",
        description=f"Compare wfmgmt with TorchServe 0.12.0, with a real model and {CLIENTS} clients.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4], help="numbers of workers")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8], help="sizes of batches")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each measurement, the servers taking turns")
    parser.add_argument("--seconds", type=int, default=4, help="length of a round")
    parser.add_argument("--example", action=argparse.BooleanOptionalAction, default=True, help="the whole example, too")
    parser.add_argument("--only", nargs="+", choices=SERVERS, default=SERVERS, help="measure some of the servers")
    return parser.parse_args()


def _measure(arguments: argparse.Namespace) -> tuple[report.Results, report.ByServer]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stores, script = Stores(folder), write_script(folder)
        settings = itertools.product(arguments.workers, arguments.batch_sizes)
        workflows = {setting: stores.add(*setting) for setting in settings}
        with run(arguments.only, stores, folder) as servers:

            def measured(workflow: str) -> report.ByServer:
                return measure(servers, workflow, script, rounds=arguments.rounds, seconds=arguments.seconds)

            results = {setting: measured(workflow) for setting, workflow in workflows.items()}
            return results, measured(WORKFLOW) if arguments.example else {}


def main() -> int:
    """Measure every setting; 1 when a target is missed or nothing could be measured."""
    arguments = _arguments()
    # Python ends at once on SIGTERM, and the servers would outlive it; as an exception it ends them first.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        installation.check_programs()
        about = f"{machine()}, {installation.versions(Path(sys.prefix))}, {_libraries()}"
        results, example = _measure(arguments)
    except (installation.Missing, AnswersDiffer) as error:
        print(f"not measured: {error}", file=sys.stderr)
        return 1
    figures = report.figures(results)
    print(f"{report.table(results, example)}\n\n{table(figures)}\n\nMachine: {about}.")
    return 1 if any(each.verdict == "MISSED" for each in figures) else 0


def _libraries() -> str:
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("sentence-transformers", "transformers"))


if __name__ == "__main__":
    sys.exit(main())
