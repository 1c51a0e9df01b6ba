"""wrk, the load generator, on the same machine as the service."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

# What wrk may take in addition to its round. It does not wait for answers that are still to come.
_GRACE_S = 60
_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


class WrkMissing(Exception):
    """The load generator is not installed."""

    def __str__(self) -> str:
        return "wrk is not installed (Debian: apt install wrk)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What wrk measured in one run.

    Attributes:
        requests_per_s: Answers per second, failed ones included.
        p50_ms: Half of the answers came within this time.
        p99_ms: 99 of 100 answers came within this time.
        slowest_ms: The slowest of all answers.
        failed: Answers with another status than 2xx or 3xx.
        socket_errors: Connections, reads and writes that failed, and answers that took longer than the timeout.
    """

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    slowest_ms: float
    failed: int
    socket_errors: int


def program() -> str:
    """Return where wrk is.

    Raises:
        WrkMissing: It is not installed.
    """
    path = shutil.which("wrk")
    if path is None:
        raise WrkMissing
    return path


def run_wrk(url: str, *, seconds: int, connections: int, script: Path | None = None, timeout_s: int = 2) -> Round:
    """Load one URL over keep-alive connections, from one thread.

    Args:
        url: What to ask for.
        seconds: Length of the round.
        connections: How many requests are under way at a time.
        script: A Lua script that says what to send; GET without a body unless given.
        timeout_s: An answer that takes longer counts as a socket error.

    Raises:
        WrkMissing: It is not installed.
    """
    options = ["-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", f"{timeout_s}s", "--latency"]
    scripts = ["--script", str(script)] if script is not None else []
    command = [program(), *options, *scripts, url]
    finished = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + _GRACE_S)
    return parse(finished.stdout)


def parse(output: str) -> Round:
    """Read what wrk printed with `--latency`."""
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    return Round(
        requests_per_s=float(_found(r"Requests/sec:\s+([0-9.]+)", output)[1]),
        p50_ms=_milliseconds(_found(r"\n +50% +([0-9.]+)([a-z]+)", output)),
        p99_ms=_milliseconds(_found(r"\n +99% +([0-9.]+)([a-z]+)", output)),
        slowest_ms=_milliseconds(_found(r"\n +Latency +\S+ +\S+ +([0-9.]+)([a-z]+)", output)),
        failed=int(failed[1]) if failed is not None else 0,
        socket_errors=sum(map(int, errors.groups())) if errors is not None else 0,
    )


def _found(pattern: str, output: str) -> re.Match[str]:
    found = re.search(pattern, output)
    assert found is not None, output
    return found


def _milliseconds(found: re.Match[str]) -> float:
    return float(found[1]) * _MS[found[2]]
