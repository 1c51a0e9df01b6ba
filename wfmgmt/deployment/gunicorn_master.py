"""Our part of gunicorn's master: what it prepares, hands to the web workers and takes down again."""

import errno
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence

from wfmgmt.api.metrics import record_loop_failure
from wfmgmt.control.start_marker import StartMarker
from wfmgmt.deployment.database import inspect_database, prepare_database, record_clean_end
from wfmgmt.deployment.election import Election
from wfmgmt.deployment.exclusion import claim_database, holder_of, lock_database, lock_instance, lock_stores
from wfmgmt.deployment.housekeeping import Housekeeping, RuntimeWatchdog, runtime_answers, runtime_command
from wfmgmt.deployment.instance import PRIVATE_UMASK, check_anchor, check_signers, prepare_instance, runtime_lock
from wfmgmt.deployment.listening import listen
from wfmgmt.deployment.locks import LockFile
from wfmgmt.deployment.settings_handover import hand_over
from wfmgmt.deployment.shared_state import SharedState
from wfmgmt.errors import WfmgmtError, how_lost
from wfmgmt.errors.commands import AlreadyInUse, DatabaseUnusable, ResourcesExhausted, SettingsInvalid
from wfmgmt.http.addresses import SocketName, is_local, listening_url
from wfmgmt.management import Services, make_anchoring
from wfmgmt.registry.files import FileIdentity, file_identity
from wfmgmt.registry.registry import Registry
from wfmgmt.registry.schema import sqlite_file, warning_about_sqlite
from wfmgmt.settings import Settings

_log = logging.getLogger("wfmgmt.deployment")

#: How long the processes of a service that was killed may take to disappear.
PREDECESSOR_S = 5.0
#: How long the runtime may take to stop, once accepted requests are answered, before it is killed.
RUNTIME_STOP_S = 5.0
#: How long an address may take for the last checkpoint of the audit trail; the service waits twice as long for it.
MAX_LAST_CHECKPOINT_S = 2.0
#: Pause after a web worker could not start.
RETRY_S = 1.0
#: Makes prometheus-client share counters; not for the runtime, which has its own.
_METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


class GunicornMaster:
    """The part of gunicorn's master: locks, database, sockets, and the end of the runtime.

    Args:
        settings: The settings in force.

    Attributes:
        is_open_until_first_token: Whether only this machine reaches the service, and no setting says who may do what.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._only_one: LockFile | None = None
        self._exclusive: list[LockFile] = []
        self._database_file: FileIdentity = None
        self._inference: socket.socket | None = None
        self._lifeline: tuple[int, int] = (-1, -1)
        self._settings_fd = -1
        self.shared = SharedState()
        self._master = 0
        self.is_open_until_first_token = False
        # Before gunicorn opens its log files.
        self._operators_umask = os.umask(PRIVATE_UMASK)

    def start(
        self,
        binds: Sequence[SocketName],
        *,
        management: SocketName | None = None,
        inference: socket.socket | None = None,
    ) -> None:
        """Prepare everything that web workers rely on, before there are any.

        Args:
            binds: What gunicorn would listen on: pairs of host and port, or paths.
            management: Where a socket listens that gunicorn takes instead.
            inference: A socket that listens in the place of the inference address.

        Raises:
            CannotStart: The settings, the database or the addresses do not allow it.
        """
        settings = self.settings
        check_signers(settings)
        prepare_instance(settings)
        self._only_one = lock_instance(settings, wait_s=PREDECESSOR_S)
        StartMarker(settings.start_marker).reset()
        state = inspect_database(settings)
        check_anchor(settings, state.identity)
        # Before a database is made, or migrated, that a refused start would leave behind.
        self._inference = self._listen(binds if management is None else (), inference)
        self._check_access(binds if management is None else [management], has_tokens=state.has_tokens)
        self._exclusive += lock_database(settings, wait_s=PREDECESSOR_S)
        self._exclusive += lock_stores(settings, wait_s=PREDECESSOR_S)
        if state.revisions:
            claim_database(settings)  # Before it is migrated under a service that uses it.
        prepare_database(settings, state)
        claim_database(settings)
        file = sqlite_file(settings.database)
        self._database_file = None if file is None else file_identity(file)
        self._lifeline = os.pipe()
        is_closed = settings.is_open_until_first_token and not self.is_open_until_first_token
        self._settings_fd = hand_over(settings.model_copy(update={"anonymous_role": "none"}) if is_closed else settings)
        self._master = os.getpid()
        if file is not None and (warning := warning_about_sqlite()):
            _log.warning("%s", warning)
        self._write_address("inference", self._inference.getsockname())

    def _check_access(self, management: Sequence[SocketName], *, has_tokens: bool) -> None:
        """Check that a service which others than this machine reach asks for tokens, and has one.

        Raises:
            SettingsInvalid: It has none.
        """
        settings = self.settings
        is_reached = bool(settings.trusted_proxies) or not all(map(is_local, management))
        if is_reached and settings.anonymous_role == "auto" and not has_tokens:
            raise SettingsInvalid(
                f"the management address {' '.join(map(listening_url, management))} is reached from elsewhere, and "
                "anyone there could run code here; make a token: wfmgmt token create NAME --role admin; or let "
                "everybody in: WFMGMT_ANONYMOUS_ROLE=admin"
            )
        inference = () if self._inference is None else self._inference.getsockname()
        if not is_local(inference) and not settings.inference_tokens:
            _log.warning("predictions need no token (WFMGMT_INFERENCE_TOKENS), and others than this machine reach them")
        self.is_open_until_first_token = settings.is_open_until_first_token and is_local(inference) and not is_reached

    def _listen(self, binds: Sequence[SocketName], inference: socket.socket | None) -> socket.socket:
        """Return a socket that listens for inference, once both addresses are free."""
        for bind in binds:
            if isinstance(bind, tuple):  # gunicorn's own complaint would come late and among others.
                _listen_patiently("WFMGMT_MANAGEMENT_ADDRESS", bind[0], bind[1]).close()
        address = self.settings.inference_address
        return inference or _listen_patiently("WFMGMT_INFERENCE_ADDRESS", address.host, address.port)

    def announce(self, management: SocketName) -> None:
        """Log where everything is, and write down the management address."""
        self._write_address("management", management)
        _log.info("management at %s", listening_url(management))
        if self._inference is not None:
            _log.info("inference at %s", listening_url(self._inference.getsockname()))
        _log.info("workflow store: %s", self.settings.workflow_store)
        _log.info("model store: %s", self.settings.model_store)
        if os.geteuid() == 0:
            _log.warning("the service runs as root, and so do all handlers; give it a user of its own")

    def _write_address(self, plane: str, address: SocketName) -> None:
        path = self.settings.run_folder / f"{plane}.address"
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_bytes(os.fsencode(f"{listening_url(address).removeprefix('http://')}\n"))
        unfinished.replace(path)  # A process that waits for the file never sees a part of it.

    def housekeeping(self, services: Services, *, check_counters: Callable[[], None]) -> Housekeeping:
        """Return the housekeeping of a web worker.

        Args:
            services: Its use cases.
            check_counters: Replaces damaged files of its counters.
        """
        inference_fd = -1 if self._inference is None else self._inference.fileno()
        environment = {name: value for name, value in os.environ.items() if name != _METRICS_VARIABLE}  # noqa: TID251
        services.registry.pin(self._database_file)
        watchdog = RuntimeWatchdog(
            command=runtime_command(
                settings_fd=self._settings_fd,
                inference_fd=inference_fd,
                lifeline_fd=self._lifeline[0],
                database_file=self._database_file,
                umask=self._operators_umask,
            ),
            keep_open=(self._settings_fd, inference_fd, self._lifeline[0]),
            environment=environment,
            lock=runtime_lock(self.settings),
            answers=lambda: runtime_answers(services),
            on_hopeless=self._end_service,
        )
        return Housekeeping(
            services=services,
            watchdog=watchdog,
            election=Election(LockFile(self.settings.run_folder / "housekeeping.lock"), self.shared),
            shared=self.shared,
            on_failure=record_loop_failure,
            check_instance=self.check_instance,
            check_counters=check_counters,
            beat=lambda: self._beat(services.registry),
        )

    def check_instance(self) -> None:
        """End the service when its folder is gone: its processes cannot find each other, and another may start."""
        if self._is_in_place() or self.exit_code:
            return
        file = sqlite_file(self.settings.database)
        is_database_here = file is None or file_identity(file) == self._database_file
        _log.error("%s %s; ending it", self.settings.run_folder, self._how_lost())
        # A restart makes the folder again, but must not go on without the database.
        self._end_service(ResourcesExhausted.exit_code if is_database_here else DatabaseUnusable.exit_code)

    def _how_lost(self) -> str:
        try:
            os.stat(f"{self.settings.run_folder}/.")  # noqa: PTH116 - pathlib drops the dot, which needs a folder that is open
        except OSError as error:
            return how_lost(error)
        return "was replaced while the service runs"

    def _beat(self, registry: Registry) -> None:
        """Show that this service uses its PostgreSQL database; end it when another one has taken the database over."""
        other = registry.beat(holder_of(self.settings))
        if other is not None and not self.exit_code:
            _log.error("another service uses the database: %s; ending this one", other.holder)
            self._end_service(AlreadyInUse.exit_code)

    def _end_beat(self) -> None:
        registry = Registry(self.settings.database, connections=1)
        try:
            registry.end_beat(holder_of(self.settings))
        except WfmgmtError as error:
            _log.warning("others have to wait for the database: %s", error)
        finally:
            registry.close()

    def _is_in_place(self) -> bool:
        return self._only_one is not None and self._only_one.is_in_place()

    def on_web_worker_started(self) -> None:
        """Record that a web worker has started. Runs in the web worker."""
        self.shared.record_service()

    def on_web_worker_failed(self) -> None:
        """End the service when no web worker has ever started; otherwise pause before gunicorn starts another."""
        if self.shared.has_served:
            _log.error("a web worker could not start; starting another in %g s", RETRY_S)
            time.sleep(RETRY_S)
        else:
            self._end_service(ResourcesExhausted.exit_code)

    def _end_service(self, code: int) -> None:
        """End the service, from within any of its processes."""
        self.shared.exit_code = code
        os.kill(self._master, signal.SIGTERM)

    @property
    def exit_code(self) -> int:
        """What to exit with: 0 unless the web workers or the runtime could not start."""
        return self.shared.exit_code

    def stop(self) -> None:
        """Take the runtime down: the pipe that it watches ends when the last process of the service closes it."""
        if self._inference is None:
            return
        self._inference.close()
        os.close(self._lifeline[1])
        if not self._is_in_place():
            return  # What is in the folder now is not ours.
        lock = runtime_lock(self.settings)
        deadline = time.monotonic() + self.settings.drain_timeout_s + RUNTIME_STOP_S
        while lock.is_held() and time.monotonic() < deadline:
            time.sleep(0.02)
        if (holder := lock.holder()) is not None:
            os.kill(holder, signal.SIGKILL)
            _log.error("the runtime did not stop; it was killed")
        else:
            self._record_clean_end()
        self._anchor()
        self._end_beat()

    def _anchor(self) -> None:
        """Make the last checkpoint of the audit trail, unless its anchor keeps the service waiting."""
        registry = Registry(self.settings.database, connections=1)
        anchoring = make_anchoring(self.settings, registry, timeout_s=MAX_LAST_CHECKPOINT_S)
        if anchoring is None:
            return

        def run() -> None:
            try:
                anchoring.run(at_end=True)
            except WfmgmtError as error:
                _log.warning("the last rows of the audit trail are in no checkpoint: %s", error)
            finally:
                registry.close()

        last = threading.Thread(target=run, name="last-checkpoint", daemon=True)
        try:
            last.start()
        except RuntimeError as error:  # The system has no room for another thread.
            _log.warning("the last rows of the audit trail are in no checkpoint: %s", error)
            return
        last.join(2 * MAX_LAST_CHECKPOINT_S)
        if last.is_alive():
            _log.warning("the last rows of the audit trail are in no checkpoint: the audit anchor does not respond")

    def _record_clean_end(self) -> None:
        try:
            record_clean_end(self.settings)
        except OSError as error:
            _log.warning("the next start will look through all of the database: %s", error.strerror)


def _listen_patiently(setting: str, host: str, port: int) -> socket.socket:
    """Listen, giving the processes of a service that was killed a moment to release the address."""
    deadline = time.monotonic() + PREDECESSOR_S
    while True:
        try:
            sock = listen(setting, host, port)
        except SettingsInvalid as error:
            cause = error.__cause__
            is_taken = isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE
            if not is_taken or time.monotonic() >= deadline:
                raise
            time.sleep(0.1)
        else:
            sock.set_inheritable(False)
            return sock
