"""The command: `python -m benchmarks.soak [--minutes 10] [--seed N]`."""

import argparse
import random
import sys
import tempfile
from pathlib import Path

from benchmarks.figures import machine, table
from benchmarks.soak.report import figures_of, problems_of
from benchmarks.soak.trial import run_trial

_MIN_MINUTES, _MAX_MINUTES = 0.1, 24 * 60.0


def main() -> int:
    """Soak the service; 1 when something does not hold."""
    arguments = _arguments()
    about = machine()
    print(f"soaking for {arguments.minutes:g} minutes, --seed {arguments.seed}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as temporary:
        instance = (arguments.instance or Path(temporary) / "instance").absolute()
        trial = run_trial(instance, seconds=60 * arguments.minutes, seed=arguments.seed)
    figures, problems = figures_of(trial), problems_of(trial)
    print(f"{table(figures)}\n\nMachine: {about}. Seed {arguments.seed}, {arguments.minutes:g} minutes.")
    print("".join(f"\n{problem}" for problem in problems))
    return 1 if problems or any(figure.verdict == "MISSED" for figure in figures) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks.soak", description="Load the service while parts of it are killed."
    )
    parser.add_argument("--minutes", type=_minutes, default=10.0, help="how long, 10 unless given")
    seed = random.randrange(1_000_000)
    parser.add_argument("--seed", type=int, default=seed, help="of all that is random, a new one unless given")
    parser.add_argument(
        "--instance", type=Path, help="folder of the service, with its log; a temporary one unless given"
    )
    return parser.parse_args()


def _minutes(text: str) -> float:
    minutes = float(text)
    if not _MIN_MINUTES <= minutes <= _MAX_MINUTES:
        raise argparse.ArgumentTypeError(f"expected {_MIN_MINUTES:g} to {_MAX_MINUTES:g}, got {text}")
    return minutes


if __name__ == "__main__":
    sys.exit(main())
