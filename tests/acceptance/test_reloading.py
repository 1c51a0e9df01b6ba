"""SIGHUP: gunicorn reads its configuration again and replaces the web workers."""

import os
import signal
from pathlib import Path

import requests

from tests.support.service import Service, pids_of, wait_until


def test_runtime_is_supervised_after_a_reload(tmp_path: Path) -> None:
    """The new web workers know the sockets and the locks of the deployment, and start a runtime that died."""
    service = Service(tmp_path / "instance").start()
    try:
        assert service.process is not None
        before = service.text_of_log().count("Booting worker")
        service.process.send_signal(signal.SIGHUP)
        wait_until(lambda: service.text_of_log().count("Booting worker") == 2 * before, what="new web workers")
        wait_until(lambda: service.text_of_log().count("Worker exiting") == before, what="the end of the old ones")
        runtime = int((service.run_folder / "runtime.lock").read_text())
        os.kill(runtime, signal.SIGKILL)
        wait_until(lambda: requests.get(f"{service.inference}/ping", timeout=20).ok, timeout_s=20, what="the runtime")
        assert int((service.run_folder / "runtime.lock").read_text()) != runtime
        assert "Traceback" not in service.text_of_log()
        assert service.stop() == 0
        assert pids_of(service.instance) == []
    finally:
        service.kill()
