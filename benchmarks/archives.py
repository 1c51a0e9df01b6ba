"""What it takes to register a large model, beside what its disk takes for the same bytes."""

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
_SPEC = "models: {m: {url: m.mar, max-workers: 1}}\ndag: {m: []}\n"
_WAR = (
    '{"createdOn": "01/02/2026", "archiverVersion": "0.2.15", '
    '"workflow": {"workflowName": "large", "specFile": "spec.yaml"}}'
)


def registering_a_large_model(folder: Path) -> list[Figure]:
    """Register a workflow with a model of 300 MB, then another one with the same model, and start again."""
    service = Service(folder, web_workers=1)
    mar = _write_model(service.model_store / "m.mar")
    with zipfile.ZipFile(service.workflow_store / "large.war", "w") as archive:
        archive.writestr("spec.yaml", _SPEC)
        archive.writestr("WAR-INF/MANIFEST.json", _WAR)
    copied_s = _seconds(lambda: _copy(mar, folder / "copy"))
    with service:
        (web_worker,), runtime = web_workers(service), runtime_pid(service)
        before = _peak_mb(web_worker), _peak_mb(runtime)
        first_s = _seconds(lambda: _register(service, "large"))
        again_s = _seconds(lambda: _register(service, "again"))
        web_mb, runtime_mb = _peak_mb(web_worker) - before[0], _peak_mb(runtime) - before[1]
    size_mb = mar.stat().st_size / 1_000_000
    what = f"a model of {size_mb:.0f} MB"
    return [
        Figure(what=f"register {what}, first time", value=first_s, unit="s"),
        Figure(what=f"read and write {what}, made durable, no more", value=copied_s, unit="s"),
        Figure(what="register another workflow with the same model", value=again_s, unit="s"),
        Figure(what="peak memory that this adds to the web worker, RSS", value=web_mb, unit="MB", at_most=64),
        Figure(what="peak memory that this adds to the runtime, RSS", value=runtime_mb, unit="MB", at_most=64),
    ]


def _write_model(path: Path) -> Path:
    """Write an archive as torch-model-archiver does, deflated."""
    exponents = bytes(124 + number % 4 for number in range(256))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
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


def _register(service: Service, name: str) -> None:
    answer = service.register("large.war", workflow_name=name)
    assert answer.ok, answer.text


def _seconds(step: Callable[[], object]) -> float:
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


def _peak_mb(pid: int) -> float:
    """Return the most resident memory that a process has ever had."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    (peak,) = (int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    return peak / KIB_PER_MB
