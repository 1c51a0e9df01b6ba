"""The command: `python -m benchmarks [PART …]`."""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import (
    access,
    archives,
    audit,
    changes,
    declared,
    graphs,
    idle,
    load,
    operations,
    planes,
    single,
    uploads,
    volume,
)
from benchmarks.figures import Figure, machine, table
from benchmarks.wrk import WrkMissing

PARTS: dict[str, Callable[[Path], list[Figure]]] = {
    "register": single.registering,
    "describe": load.describing,
    "list": load.listing,
    "volume": volume.growing,
    "idle": idle.idling,
    "memory": single.memory,
    "start": single.starting,
    "planes": planes.loading,
    "versions": volume.with_versions,
    "switch": changes.switching,
    "scale": changes.scaling,
    "routing": changes.routing,
    "mirror": changes.mirroring,
    "operations": operations.waiting,
    "archive": archives.registering_large_models,
    "upload": uploads.uploading,
    "graph": graphs.drawing,
    "tokens": access.predicting,
    "refusals": access.refusing,
    "refusal-times": access.comparing,
    "audit": audit.reading,
    "declared": declared.applying,
}


def main() -> int:
    """Measure the parts that are named, all when none is; 1 when a target is missed or a part could not run."""
    parser = argparse.ArgumentParser(prog="benchmarks", description="Measure the service against its targets.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"one of {', '.join(PARTS)}; all unless given")
    parts = parser.parse_args().parts or list(PARTS)
    if unknown := [part for part in parts if part not in PARTS]:
        parser.error(f"no part {unknown[0]!r}, known are {', '.join(PARTS)}")
    about = machine()
    figures: list[Figure] = []
    missing = []
    for part in parts:
        print(f"measuring: {part}", file=sys.stderr)
        with tempfile.TemporaryDirectory() as folder:
            try:
                figures += PARTS[part](Path(folder) / "instance")
            except WrkMissing as error:
                missing.append(f"{part}: not measured, {error}")
    print(f"{table(figures)}\n\nMachine: {about}.")
    print("".join(f"\n{line}" for line in missing))
    return 1 if missing or any(figure.verdict == "MISSED" for figure in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
