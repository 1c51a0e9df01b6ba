"""Surroundings as in a container: a root that cannot be written, a user without a name, few open files, a full disk."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.factories import WORKFLOW_HANDLER, make_mar, make_war
from tests.support.service import CHECKOUT, Service, wait_until
from tests.support.small_disk import SmallDisks

_CONTAINER = """
set -e
mount --rbind "$0" "$0"
if [ -n "$COVERAGE_FILE" ]; then mount --rbind "$(dirname "$COVERAGE_FILE")" "$(dirname "$COVERAGE_FILE")"; fi
for point in / /dev/shm /tmp /var/tmp; do
    if mountpoint -q $point; then mount -o remount,bind,ro $point; fi
done
exec unshare --user --map-user=54321 -- "$@"
"""


def in_container(instance: Path) -> list[str]:
    """Return the command that runs another one with a read-only root, and as a user that is in no list.

    Only the instance can be written, and where the measure of coverage writes to, if it runs.
    """
    instance.mkdir(exist_ok=True)
    prefix = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", _CONTAINER, str(instance)]
    if (tried := subprocess.run([*prefix, "true"], capture_output=True, text=True, check=False)).returncode:
        pytest.skip(f"needs user namespaces: {tried.stderr.strip()}")
    for attempt in (["touch", "/tmp/x"], ["touch", "/dev/shm/x"], ["touch", "x"], ["id", "-un"]):  # noqa: S108 - folders that have to be read-only
        assert subprocess.run([*prefix, *attempt], capture_output=True, cwd=CHECKOUT, check=False).returncode != 0
    return prefix


def test_only_the_instance_has_to_be_writable(tmp_path: Path) -> None:
    """Neither a temporary folder nor a name of the user is needed, by the service, by handlers or by commands."""
    instance = tmp_path / "instance"
    service = Service(instance, prefix=in_container(instance))
    for name in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "TMPDIR"):
        service.environment.pop(name, None)
    make_war(service.workflow_store, handler=WORKFLOW_HANDLER + "import tempfile\ntempfile.TemporaryFile()\n")
    make_mar(service.model_store)
    with service:
        assert service.register("seq.war").status_code == 200
        wait_until(lambda: service.ready_workers("seq") == [1, 1, 1], what="the models")
        reconciled = service.command("reconcile")
        assert (reconciled.returncode, reconciled.stdout) == (0, "0 done\n"), reconciled.stderr
    assert "Traceback" not in service.text_of_log()


@pytest.mark.parametrize(("files", "threads"), [(64, 8), (64, 2), pytest.param(128, 8, marks=pytest.mark.slow)])
def test_start_with_few_open_files(tmp_path: Path, files: int, threads: int) -> None:
    """It starts and works, or says how many files it needs for so many threads and exits with 2."""
    service = Service(tmp_path / "instance", prefix=["prlimit", f"--nofile={files}", "--"], web_threads=threads)
    needed = 40 + 9 * threads
    if needed > files:
        said = f"the limit of open files (ulimit -n) is {files}; expected at least {needed}"
        assert ended(service) == (2, [f"wfmgmt: {said} for WFMGMT_WEB_THREADS={threads}"])
        return
    make_war(service.workflow_store)
    make_mar(service.model_store)
    with service, ThreadPoolExecutor(threads) as pool:
        answers = list(pool.map(lambda n: service.register("seq.war", workflow_name=f"w{n}"), range(threads)))
        assert {answer.status_code for answer in answers} <= {200, 202, 503}, service.text_of_log()
        assert 200 in {answer.status_code for answer in answers}
    assert "Traceback" not in service.text_of_log()


def ended(service: Service) -> tuple[int, list[str]]:
    """Return with which code and which words a service that cannot start ends, leaving no process."""
    process = service.launch()
    try:
        code = process.wait(20)
    finally:
        service.kill()
    service.wait_until_gone()
    said = service.text_of_log()
    assert "Traceback" not in said
    return code, [line for line in said.splitlines() if line.startswith("wfmgmt: ")]


def start_with_space(folder: Path, leave_bytes: int) -> int | None:
    """Return the exit code of a service whose disk has so much space at its start, None when it runs."""
    instance = folder / "instance"
    with SmallDisks(instance, size="24m") as disks:
        service = Service(instance, prefix=disks.prefix, visible_root=disks.root)
        service.log = folder / f"{leave_bytes}.log"
        disks.fill(instance, leave_bytes=leave_bytes)
        process = service.launch()
        try:
            wait_until(lambda: process.poll() is not None or service.has_addresses(), what="the start")
            code = process.poll()
        finally:
            service.kill()
    said = service.text_of_log()
    assert "Traceback" not in said
    assert code is None or said.splitlines()[-1].startswith("wfmgmt: "), said
    return code


@pytest.mark.parametrize(
    "steps",
    [(0, 64, 4096), pytest.param((0, 1, 16, 64, 256, 1024, 4096), marks=pytest.mark.slow)],
    ids=["few", "many"],
)
def test_start_on_a_full_disk(tmp_path: Path, steps: tuple[int, ...]) -> None:
    """With too little space for what it needs first, it says so in one line and exits with 75; a restart may help."""
    codes = [start_with_space(tmp_path, 4096 * pages) for pages in steps]
    assert set(codes) == {75, None}
    assert codes == sorted(codes, key=lambda code: code is None)


@pytest.mark.parametrize(
    "source",
    [
        "raise OSError('nothing is left')",
        pytest.param("raise ImportError('no such library')", marks=pytest.mark.slow),
    ],
)
def test_web_worker_that_cannot_start_ends_the_service_with_a_code_of_its_own(tmp_path: Path, source: str) -> None:
    """Those of gunicorn are 3 and 4; with 3 the service says that its database cannot be used."""
    (tmp_path / "unloadable.py").write_text(source)
    service = Service(tmp_path / "instance")
    service.command_line[-1] = "unloadable:app"
    service.environment["PYTHONPATH"] = str(tmp_path)
    process = service.launch()
    try:
        assert process.wait(20) == 75, service.text_of_log()
    finally:
        service.kill()
