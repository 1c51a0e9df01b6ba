"""The keys with which TorchServe's addresses are opened."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

#: What can stand in a header.
_KEY = re.compile(r"[\x21-\x7e]{1,1024}")


class Keys:
    """The keys of one server, by their kinds: fixed ones, or those of the file that TorchServe writes.

    TorchServe makes new keys when it starts and when one is asked for; the file is read again when it refuses a key.

    Args:
        file: TorchServe's `key_file.json`, None without one.
        fixed: Keys that win over those of the file.
        are_renewed: Whether new keys may be requested, which invalidates the current ones for all clients.

    Attributes:
        current: The keys, as last read: `management` and `inference` for the addresses, `API` for requesting new ones.

    Source:
        TorchServe 0.12.0: the file's form, and `Authorization: Bearer` with the key.
    """

    def __init__(
        self, file: Path | None = None, fixed: Mapping[str, str] | None = None, *, are_renewed: bool = True
    ) -> None:
        self._file = file
        self._fixed = fixed or {}
        self._are_renewed = are_renewed
        self.current: Mapping[str, str] = {}
        self.reread()

    @property
    def renewing(self) -> str | None:
        """The key for requesting new ones, None when none may be requested."""
        return self.current.get("API") if self._are_renewed else None

    @property
    def problem(self) -> str:
        """Why the management address refuses requests, as the end of a sentence about the server."""
        if "management" in self.current:
            return "does not accept our key, which may have expired or be that of another address"
        if self._file is not None:
            return f"wants a key; there is none in {self._file.name}"
        return "wants a key; name its key_file.json (WFMGMT_TORCHSERVE_KEY_FILES, or --key-file)"

    def reread(self) -> None:
        """Read the file again. It blocks for as long as the file system does."""
        self.current = {**({} if self._file is None else _keys_in(self._file)), **self._fixed}


def _keys_in(file: Path) -> dict[str, str]:
    """Return the keys in a file; none when it is not there or half written, as while TorchServe makes new ones."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return {name: entry["key"] for name, entry in content.items() if _KEY.fullmatch(entry["key"])}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def bearer(key: str | None) -> dict[str, str]:
    """Return the header that carries a key, none without one."""
    return {} if key is None else {"Authorization": f"Bearer {key}"}
