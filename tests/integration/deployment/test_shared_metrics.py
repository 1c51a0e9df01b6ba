"""The files in which a web worker counts, when something overwrites them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

#: A web worker that has counted something before its first look at its files, and goes on after they were damaged.
WEB_WORKER = """
import sys
from pathlib import Path
from wfmgmt.api.metrics import counted, record_failed_login
from wfmgmt.deployment.shared_metrics import CounterFiles
from wfmgmt.settings import Settings

settings = Settings(instance=Path(sys.argv[1]))
files = CounterFiles(settings)
for _ in range(3):
    record_failed_login("unknown")
for file in settings.metrics_folder.glob("*.db"):
    with file.open("r+b") as opened:
        opened.write(bytes([int(sys.argv[2])]) * 4096)
record_failed_login("unknown")
files.check()
record_failed_login("unknown")
(count,) = [value for file in settings.metrics_folder.glob("counter_*.db")
    for name, value in (counted(file) or {}).items() if name[0] == "wfmgmt_failed_logins_total"]
print(count)
"""


@pytest.mark.parametrize("byte", ["0", "255"], ids=["zeros", "ones"])
def test_web_worker_counts_again_after_its_next_look_at_its_files(tmp_path: Path, byte: str) -> None:
    """Also when it had not looked before, and so cannot miss what was in them."""
    folder = tmp_path / "run" / "metrics"
    folder.mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-c", WEB_WORKER, str(tmp_path), byte],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert float(done.stdout) == 1, done.stderr
