"""Installing libraries into a new virtual environment: the process that does it, its output and its time limit."""

import asyncio
import contextlib
import logging
import os
import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from wfmgmt.domain.names import printable
from wfmgmt.serving.models.local.log_pipe import LogPipe
from wfmgmt.serving.models.local.output import OutputLog
from wfmgmt.timeouts import timeout_after

_MODULE = "wfmgmt.serving.models.local.installer_process"
_IMPORT_ROOT = Path(__file__).parents[4]
#: Of what pip printed last, so much says why it failed.
_TAIL_BYTES, _TAIL_LINES, _MAX_REASON_CHARS = 16 * 1024, 10, 2_000
_LAST_WORDS_S = 0.5
#: How long the process has to end what it has started.
_END_S = 5.0
_OUT_OF_SPACE = b"[Errno 28]"
#: Lines that only say where to look further.
_ASIDES = ("note:", "hint:", "[notice]", "[end of output]", "╰─> See above")
#: A path of this machine; that of an address of the web has no such beginning.
_PATH = re.compile(r"(?:file://|(?<![\w:/.~-]))(/[^\s'\"<>|,;:()\[\]]*)")

_logger = logging.getLogger("wfmgmt.runtime")


class InstallFailed(Exception):
    """Libraries could not be installed. It never leaves the local model server.

    Attributes:
        reason: The last lines of pip, without paths of this machine.
        is_out_of_space: Whether the disk is full.
    """

    def __init__(self, reason: str, *, is_out_of_space: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_out_of_space = is_out_of_space


class _Output(OutputLog):
    """Logs what pip prints for those who debug, and keeps the end of it."""

    tail = b""

    def data_received(self, data: bytes) -> None:
        self.tail = (self.tail + data)[-_TAIL_BYTES:]
        super().data_received(data)


class Installer:
    """Installs with pip, as its configuration says. For the event loop only.

    Args:
        variables: Environment of pip, and of what source distributions run.
        timeout_s: How long it may take.
    """

    def __init__(self, variables: Mapping[str, str], timeout_s: float) -> None:
        self._variables = variables
        self._timeout_s = timeout_s

    async def install(self, folder: Path, log_fields: Mapping[str, str]) -> None:
        """Make a folder with a requirements file into a virtual environment that has these libraries.

        When this is cancelled, nothing of it runs on.

        Args:
            folder: It has a folder `tmp` for temporary files, too.
            log_fields: What the log lines name: workflow, version and node.

        Raises:
            InstallFailed: That is not possible, or takes too long.
        """
        log_read, log_write = os.pipe()
        output = _Output(fields=dict(log_fields), printed_level=logging.DEBUG)
        pipe = LogPipe(log_read, output)
        try:
            process = await self._start(folder, log_write)
            try:
                async with timeout_after(self._timeout_s):
                    code = await process.wait()
            finally:
                await _end(process)
                await asyncio.wait({output.closed}, timeout=_LAST_WORDS_S)
        except TimeoutError:
            limit = f"WFMGMT_REQUIREMENTS_TIMEOUT_S ({self._timeout_s:g} s)"
            raise InstallFailed(f"they were not installed within {limit}") from None
        except OSError as exc:
            raise InstallFailed(f"pip cannot be started: {exc.strerror}") from exc
        finally:
            pipe.close()
        if code != 0:
            printed = output.tail.decode(errors="backslashreplace")
            _logger.warning("pip failed, after it had printed:", extra={**log_fields, "traceback": printed})
            raise InstallFailed(last_lines(output.tail), is_out_of_space=_OUT_OF_SPACE in output.tail)

    async def _start(self, folder: Path, log_fd: int) -> asyncio.subprocess.Process:
        try:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                _MODULE,
                str(folder),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log_fd,
                stderr=log_fd,
                cwd=_IMPORT_ROOT,
                env={**self._variables, "TMPDIR": str(folder / "tmp")},
                start_new_session=True,
            )
        finally:
            os.close(log_fd)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End the process, with all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    with contextlib.suppress(TimeoutError):
        async with timeout_after(_END_S):
            await process.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def last_lines(output: bytes) -> str:
    """Return the end of what pip printed as one line for the client: its errors, or else its last lines."""
    lines = [line.strip() for line in output.decode(errors="replace").splitlines()]
    said = [line for line in lines if line and not line.startswith(_ASIDES)]
    errors = [line.removeprefix("ERROR: ") for line in said if line.startswith("ERROR: ")]
    text = " | ".join((errors or said)[-_TAIL_LINES:])
    shown = _PATH.sub(lambda found: found[1].rstrip("/").rpartition("/")[2], printable(text))
    return shown[-_MAX_REASON_CHARS:] or "pip failed and said nothing"
