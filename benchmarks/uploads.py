"""What it takes to upload large archives, beside what `dd` takes to write the same bytes to the same disk."""

import os
import socket
import statistics
import subprocess
import zipfile
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import requests

from benchmarks.archives import peak_mb, seconds
from benchmarks.figures import Figure
from benchmarks.processes import memory_mb, web_workers
from tests.support.raw_http import read_answer
from tests.support.service import Service

#: Sizes of the archives: the first is timed, the second shows what memory depends on the size.
TIMED_BYTES, LARGE_BYTES = 1_000_000_000, 2_000_000_000
_ROUNDS = 3
_PIECE_BYTES = 16 * 1024 * 1024


def uploading(folder: Path) -> list[Figure]:
    """Write 1 GB with `dd` and upload it, in turns; then upload 2 GB and look at the web worker's memory."""
    service = Service(folder, web_workers=1, upload_limit_mb=4096)
    timed, large = (_write_archive(folder / f"{size}.mar", size) for size in (TIMED_BYTES, LARGE_BYTES))
    written, uploaded = [], []
    with service:
        (web_worker,) = web_workers(service)
        rss, pss = (memory_mb([web_worker], field) for field in ("Rss", "Pss"))
        Path(f"/proc/{web_worker}/clear_refs").write_text("5")  # Forget the peak of the start.
        _upload(service, large)
        _remove(service)
        peak = peak_mb(web_worker)
        left = memory_mb([web_worker], "Pss")
        for _ in range(_ROUNDS):
            written.append(seconds(lambda: _dd(timed, service.model_store / ".written")))
            (service.model_store / ".written").unlink()
            uploaded.append(seconds(lambda: _upload(service, timed)))
            _remove(service)
    dd_mb_s, upload_mb_s = (TIMED_BYTES / 1_000_000 / statistics.median(times) for times in (written, uploaded))
    return [
        Figure(what="`dd` of 1 GB with `conv=fsync`, median of 3", value=dd_mb_s, unit="MB/s"),
        Figure(what="upload of 1 GB, in turns with that, median of 3", value=upload_mb_s, unit="MB/s"),
        Figure(what="upload beside `dd`", value=100 * upload_mb_s / dd_mb_s, unit="%", at_least=50),
        Figure(
            what="peak memory that an upload of 2 GB adds to the web worker, RSS",
            value=peak - rss,
            unit="MB",
            at_most=8,
        ),
        Figure(what="memory that is left of it, PSS", value=left - pss, unit="MB", at_most=8),
    ]


def _write_archive(path: Path, size: int) -> Path:
    """Write a model of about that size, stored, so that it is in the page cache."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("h.py", "def handle(data, context):\n    return data\n")
        piece = os.urandom(_PIECE_BYTES)
        with archive.open("weights.bin", "w", force_zip64=True) as file:
            for start in range(0, size, _PIECE_BYTES):
                file.write(piece[: size - start])
        archive.writestr("MAR-INF/MANIFEST.json", '{"model": {"modelName": "m", "handler": "h.py"}}')
    os.sync()
    return path


def _dd(source: Path, target: Path) -> None:
    command = ["dd", f"if={source}", f"of={target}", "bs=1M", "conv=fsync", "status=none"]
    subprocess.run(command, check=True)


def _upload(service: Service, path: Path) -> None:
    address = urlsplit(service.management)
    with socket.create_connection((address.hostname, address.port), timeout=600) as client, path.open("rb") as file:
        head = (
            f"PUT /archives/models/up.mar HTTP/1.1\r\nHost: localhost\r\nContent-Length: {path.stat().st_size}\r\n\r\n"
        )
        client.sendall(head.encode())
        client.sendfile(file)
        answer = read_answer(client, "PUT")
        assert answer.status == HTTPStatus.CREATED, answer.body


def _remove(service: Service) -> None:
    assert requests.delete(f"{service.management}/archives/models/up.mar", timeout=60).ok
