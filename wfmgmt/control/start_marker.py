"""Whether what is registered at the start of a service is: a file that both planes look at for their readiness."""

from pathlib import Path

_PENDING = "Archives are being registered, as WFMGMT_LOAD_AT_START says."


class StartMarker:
    """A file that is there once all registrations of the start have ended.

    Args:
        path: Of the file; None when nothing is registered at the start.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._is_seen = path is None

    def reset(self) -> None:
        """Begin anew, at the start of the service."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def write(self) -> None:
        """Record that all have ended."""
        if self._path is not None:
            self._path.touch()

    @property
    def is_done(self) -> bool:
        """Whether all have ended."""
        if not self._is_seen:
            self._is_seen = self._path is None or self._path.exists()
        return self._is_seen

    @property
    def problem(self) -> str:
        """Why the service is not ready; empty once all have ended."""
        return "" if self.is_done else _PENDING
