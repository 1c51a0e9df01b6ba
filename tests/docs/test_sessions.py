"""The sessions of the README and the tutorial: each command is run, and answers as printed.

They run in a copy of the checkout, on free ports, with the environment of the tests in the place of what they install.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests

from tests.support.service import CHECKOUT, Service

README = CHECKOUT / "README.md"
TUTORIAL = CHECKOUT / "docs" / "tutorial" / "first-workflow.md"
PORTS = {"management_address": "8081", "inference_address": "8080"}
_BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
_COMMAND = re.compile(r"^\$ ((?:.*\\\n)*.*)\n((?:(?!\$ ).*\n)*)", flags=re.MULTILINE)
_SERVES = re.compile(r"(make|wfmgmt) serve\b|.*gunicorn app:app")
_INSTALLS = re.compile(r"\S*pip3? install|python3? -m venv|cd |source |\. ")
#: What is different in each run: times, hashes and durations.
_VOLATILE = [(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"), (r"\b[0-9a-f]{64}\b", "HASH"), (r"\b\d+\.\d+\b", "NUMBER")]
_MARK, _TIMEOUT_S = "the command has ended:", 60.0


class File(NamedTuple):
    """A file that the reader writes."""

    path: str
    text: str


class Command(NamedTuple):
    """A command that the reader enters, and what it prints; nothing printed means that it does not matter."""

    line: str
    output: str


def steps(page: Path) -> list[File | Command]:
    """Return what a page has its readers do."""
    found: list[File | Command] = []
    for language, path, text in _BLOCK.findall(page.read_text(encoding="utf-8")):
        if path:
            found.append(File(path, text))
        elif language == "console":
            found += [Command(line, output) for line, output in _COMMAND.findall(text)]
    return found


def pattern(output: str) -> str:
    """Return a regular expression for a printed output, in which a line with nothing but … stands for any lines."""
    for volatile, word in _VOLATILE:
        output = re.sub(volatile, word, output)
    return "".join(r"(.*\n)*" if line.strip() == "…" else re.escape(line) for line in output.splitlines(keepends=True))


class Session:
    """A reader with two terminals: one in which the service runs, and a shell.

    Args:
        folder: The copy of the checkout.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
            self._ports = {name: sock.getsockname()[1] for name, sock in zip(PORTS, (one, two), strict=True)}
        settings: dict[str, Any] = {name: f"127.0.0.1:{port}" for name, port in self._ports.items()}
        self.service = Service(folder / "instance", **settings)
        (folder / ".curlrc").write_text("silent\nshow-error\n")  # Without a terminal curl reports its progress.
        self.service.environment |= {
            "PATH": f"{folder}/.venv/bin:{os.environ['PATH']}",
            "PYTHONPATH": str(folder),
            "CURL_HOME": str(folder),
        }
        self._shell = subprocess.Popen(
            ["bash"],
            cwd=folder,
            env=self.service.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def do(self, step: File | Command) -> None:
        """Do what a reader does.

        Raises:
            AssertionError: A command fails, or prints something else than the page says.
        """
        if isinstance(step, File):
            path = self.folder / step.path
            path.parent.mkdir(exist_ok=True)
            path.write_text(step.text)
        elif _SERVES.match(step.line):
            self.serve(step.line)
        elif not _INSTALLS.match(step.line):
            printed = self._run(step.line)
            for volatile, word in _VOLATILE:
                printed = re.sub(volatile, word, printed)
            # Answers of handlers have no line feed at their end.
            is_right = re.fullmatch(pattern(step.output), printed.rstrip("\n") + "\n") or not step.output
            assert is_right, f"$ {step.line}\n{printed}"

    def serve(self, command: str) -> None:
        """Start the service in the other terminal, unless it runs there."""
        if self.service.process is None:
            self.service.command_line = ["bash", "-c", f"cd {self.folder} && {command}"]
            self.service.start()

    def _run(self, line: str) -> str:
        """Return what a command of the shell prints."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        for name, port in PORTS.items():
            line = line.replace(f"127.0.0.1:{port}", f"127.0.0.1:{self._ports[name]}")
        self._shell.stdin.write(f"{line}\necho '{_MARK}' $?\n")
        self._shell.stdin.flush()
        printed = ""
        watchdog = threading.Timer(_TIMEOUT_S, self._shell.kill)
        watchdog.start()
        for text in self._shell.stdout:
            printed += text
            if _MARK in text:
                break
        watchdog.cancel()
        printed, _, code = printed.partition(_MARK)
        assert code.strip() == "0", f"$ {line}\n{printed}"
        return printed

    def close(self) -> None:
        """End both terminals."""
        self._shell.communicate()
        self.service.stop()


@pytest.fixture(name="session", scope="module")
def _session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    folder = tmp_path_factory.mktemp("session") / "wfmgmt"
    ignored = shutil.ignore_patterns(".*", "*.egg-info", "instance", "tests", "benchmarks")
    shutil.copytree(CHECKOUT, folder, ignore=ignored)
    environment = folder / ".venv"
    environment.mkdir()
    for part in ("bin", "lib", "pyvenv.cfg"):
        (environment / part).symlink_to(Path(sys.prefix, part))
    for stamp in (".runtime", ".development"):
        (environment / stamp).touch()  # So that make has nothing to install.
    session = Session(folder)
    try:
        yield session
    finally:
        session.close()


def test_pages_have_sessions() -> None:
    """The pages are read, with their files and their commands."""
    assert [type(step) for step in steps(TUTORIAL)[:4]] == [File, File, File, Command]
    assert len([step for step in steps(README) if isinstance(step, Command) and step.output]) > 8


@pytest.mark.parametrize("page", [README, TUTORIAL], ids=["README", "tutorial"])
def test_session_prints_what_the_page_says(session: Session, page: Path) -> None:
    """A reader who follows a page sees what it shows."""
    for step in steps(page):
        session.do(step)


def test_workflow_is_there_after_a_crash_as_the_readme_says(session: Session) -> None:
    """The service is killed and started again."""
    assert session.service.process is not None
    os.killpg(session.service.process.pid, signal.SIGKILL)
    session.service.kill()
    session.serve("make serve")
    url = f"{session.service.inference}/wfpredict/sequential"
    answer = requests.post(url, data="What a great day", timeout=30)
    assert (answer.status_code, answer.json()) == (200, {"mood": "good", "score": 1})
