"""Schemathesis against both addresses of a deployment, as the descriptions say that they can be used."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.deployments import deployed
from tests.support.factories import make_mar, make_war
from tests.support.service import CHECKOUT, Service

HANDLER = """\
def handle(data, context):
    return None if data is None else [{"fields": sorted(item)} for item in data]
"""
CONFIG = Path(__file__).with_name("schemathesis.toml")


@contextmanager
def fuzzed_service(folder: Path) -> Iterator[Service]:
    """Run a deployment that downloads nothing, with the archives and the workflow that the configuration names."""
    with deployed(folder, allowed_urls="http://127.0.0.1:1/none", max_workers=100_000) as service:
        one = "models: {m1: {url: m1.mar}}\ndag: {m1: []}\n"
        make_war(service.workflow_store, name="seq", spec=one, handler=None)
        make_war(service.workflow_store, name="idle", spec=one.replace("{m1", "{min-workers: 0, m1", 1), handler=None)
        make_mar(service.model_store, source=HANDLER)
        assert service.register("seq.war").status_code == 200
        yield service


def findings(address: str, *, examples: int, is_random: bool = False) -> str:
    """Return what Schemathesis reports about one address, nothing when all is as described."""
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run"]
    command += [f"{address}/api-description", f"--max-examples={examples}", "--phases=coverage,fuzzing,stateful"]
    command += [] if is_random else ["--generation-deterministic"]
    result = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    return "" if result.returncode == 0 else result.stdout + result.stderr
