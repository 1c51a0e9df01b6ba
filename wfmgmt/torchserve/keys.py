"""The keys with which TorchServe's addresses are opened."""

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class KeySet:
    """Keys at one time; None where there is none.

    Attributes:
        management: For the management address.
        inference: For the inference address.
        api: For asking for new keys.
    """

    management: str | None = None
    inference: str | None = None
    api: str | None = None

    def of(self, kind: str) -> str | None:
        """Return the key for an address, `management` or `inference`."""
        return self.management if kind == "management" else self.inference


class Keys:
    """The keys of one server: fixed ones, or those of the file that TorchServe writes.

    TorchServe makes new keys when it starts and when somebody asks for them; the file is read again when it refuses a
    key. A key that is given wins over the file's.

    Args:
        fixed: Keys that are given.
        file: TorchServe's `key_file.json`, None without one.

    Attributes:
        current: The keys, as last read.
        problem: What is wrong with the file, to be appended to the text of an error; empty when nothing is.

    Source:
        TorchServe 0.12.0: the file's form, and `Authorization: Bearer` with the key.
    """

    def __init__(self, fixed: KeySet, file: Path | None) -> None:
        self._fixed = fixed
        self._file = file
        self.problem = ""
        self.current = self._read()

    def reread(self) -> None:
        """Read the file again. It blocks for as long as the file system does."""
        self.current = self._read()

    def _read(self) -> KeySet:
        found: dict[str, str] = {}
        if self._file is not None:
            found = _keys_in(self._file)
            self.problem = "" if found else f"; there are none in {self._file.name}"
        return KeySet(
            management=self._fixed.management or found.get("management"),
            inference=self._fixed.inference or found.get("inference"),
            api=found.get("API"),
        )


def _keys_in(file: Path) -> dict[str, str]:
    """Return the keys in a file; none when it is not there or half written, as while TorchServe makes new ones."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return {name: str(entry["key"]) for name, entry in content.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def bearer(key: str | None) -> dict[str, str]:
    """Return the header that carries a key, none without one."""
    return {} if key is None else {"Authorization": f"Bearer {key}"}
