"""What it takes to register large models, beside what the disk takes for the same bytes."""

import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.processes import KIB_PER_MB, web_workers
from tests.support.processes import runtime_pid
from tests.support.service import Service

#: Size of the weights. Of four bytes of a weight one compresses well, as in weights of real models.
WEIGHTS_BYTES = 300_000_000
_CHUNK_BYTES = 1024 * 1024
_HANDLER = "def handle(data, context):\n    return data\n"
_MANIFEST = '{"model": {"modelName": "m", "handler": "h.py"}}'
_SPEC = "models: {{m: {{url: {name}.mar, max-workers: 1}}}}\ndag: {{m: []}}\n"
_WAR = (
    '{"createdOn": "01/02/2026", "archiverVersion": "0.2.15", '
    '"workflow": {"workflowName": "large", "specFile": "spec.yaml"}}'
)


def registering_large_models(folder: Path) -> list[Figure]:
    """Register models of 300 MB, deflated and stored, then another workflow with the first one."""
    service = Service(folder, web_workers=1)
    deflated = _write_archives(service, "deflated", zipfile.ZIP_DEFLATED)
    _write_archives(service, "stored", zipfile.ZIP_STORED)
    copied_s = seconds(lambda: _copy(deflated, folder / "copy"))
    with service:
        (web_worker,), runtime = web_workers(service), runtime_pid(service)
        before = peak_mb(web_worker), peak_mb(runtime)
        deflated_s = seconds(lambda: _register(service, "deflated", "first"))
        stored_s = seconds(lambda: _register(service, "stored", "second"))
        again_s = seconds(lambda: _register(service, "deflated", "third"))
        web_mb, runtime_mb = peak_mb(web_worker) - before[0], peak_mb(runtime) - before[1]
    size_mb = deflated.stat().st_size / 1_000_000
    return [
        Figure(what=f"register a model of {size_mb:.0f} MB, deflated", value=deflated_s, unit="s"),
        Figure(what=f"register a model of {WEIGHTS_BYTES / 1_000_000:.0f} MB, stored", value=stored_s, unit="s"),
        Figure(what="read and write the first one, made durable, and no more", value=copied_s, unit="s"),
        Figure(what="register another workflow with the first one", value=again_s, unit="s"),
        Figure(what="peak memory that this adds to the web worker, RSS", value=web_mb, unit="MB", at_most=64),
        Figure(what="peak memory that this adds to the runtime, RSS", value=runtime_mb, unit="MB", at_most=64),
    ]


def _write_archives(service: Service, name: str, compression: int) -> Path:
    """Write a workflow and its model, as the archivers do, and return the model."""
    with zipfile.ZipFile(service.workflow_store / f"{name}.war", "w") as archive:
        archive.writestr("spec.yaml", _SPEC.format(name=name))
        archive.writestr("WAR-INF/MANIFEST.json", _WAR)
    path = service.model_store / f"{name}.mar"
    exponents = bytes(124 + number % 4 for number in range(256))
    with zipfile.ZipFile(path, "w", compression, compresslevel=1) as archive:
        archive.writestr("h.py", _HANDLER)
        with archive.open("weights.bin", "w", force_zip64=True) as file:
            for _ in range(WEIGHTS_BYTES // _CHUNK_BYTES):
                weights = bytearray(os.urandom(_CHUNK_BYTES))
                weights[3::4] = weights[3::4].translate(exponents)
                file.write(weights)
        archive.writestr("MAR-INF/MANIFEST.json", _MANIFEST)
    return path


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as file, target.open("wb") as copy:
        while chunk := file.read(_CHUNK_BYTES):
            copy.write(chunk)
        os.fsync(copy.fileno())


def _register(service: Service, archive: str, name: str) -> None:
    answer = service.register(f"{archive}.war", workflow_name=name)
    assert answer.ok, answer.text


def seconds(step: Callable[[], object]) -> float:
    """Return how long a step takes."""
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


def peak_mb(pid: int) -> float:
    """Return the most resident memory that a process has ever had."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    (peak,) = (int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    return peak / KIB_PER_MB
