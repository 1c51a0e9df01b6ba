"""A few flags that gunicorn's master and its web workers share."""

import mmap

_EXIT_CODE, _IS_STOPPING, _HAS_SERVED, _HEARTBEAT = 0, 1, 2, slice(8, 16)
_BYTES = 16


class SharedState:
    """A few bytes of memory that the master makes and all web workers inherit.

    Neither files nor descriptors are needed to read or write it, so it works when the system has run out of them.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _BYTES)

    @property
    def exit_code(self) -> int:
        """What the master exits with, 0 unless one of the processes found that the service cannot go on."""
        return self._memory[_EXIT_CODE]

    @exit_code.setter
    def exit_code(self, code: int) -> None:
        self._memory[_EXIT_CODE] = code

    @property
    def is_stopping(self) -> bool:
        """Whether the master stops the service; web workers that get SIGTERM before are only replaced."""
        return bool(self._memory[_IS_STOPPING])

    def begin_to_stop(self) -> None:
        """Let web workers know that the service stops; for the master."""
        self._memory[_IS_STOPPING] = 1

    @property
    def has_served(self) -> bool:
        """Whether a web worker has ever started."""
        return bool(self._memory[_HAS_SERVED])

    def record_service(self) -> None:
        """Let the master know that a web worker has started."""
        self._memory[_HAS_SERVED] = 1

    @property
    def heartbeat(self) -> bytes:
        """Changes as long as the elected web worker runs."""
        return self._memory[_HEARTBEAT]

    def beat(self) -> None:
        """Change the heartbeat; for the elected web worker."""
        beats = int.from_bytes(self._memory[_HEARTBEAT], "little")
        self._memory[_HEARTBEAT] = ((beats + 1) % 2**64).to_bytes(8, "little")
