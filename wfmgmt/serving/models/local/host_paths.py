"""Paths of this machine in what handlers say, which are nothing for clients."""

import os
import re
import sys
from collections.abc import Mapping

_IMPORT_ROOT = __file__.rpartition("/wfmgmt/")[0]


def folders_of_the_host(import_root: str = _IMPORT_ROOT) -> dict[str, str]:
    """Return the folders that are never shown, with what is shown in their place.

    Args:
        import_root: Where this package lies: in a checkout, or beside all other packages.
    """
    shown = dict.fromkeys((*sys.path, sys.prefix, sys.base_prefix), "python")
    shown[os.path.expanduser("~")] = "~"  # noqa: PTH111 - pathlib would cost each worker memory
    shown[import_root] = "python" if import_root.endswith("-packages") else "wfmgmt"
    shown[os.environ.get("WFMGMT_INSTANCE", "")] = "instance"  # noqa: TID251 - a worker has no settings but this one
    real = {os.path.realpath(path): name for path, name in shown.items() if path}
    return {path: name for path, name in {**real, **shown}.items() if path not in {"", "~", "/"}}


# Taken before any handler runs and can change where things are.
_HOST_FOLDERS = folders_of_the_host()


def hide_host_paths(text: str, *, directory: str, archive: str, folders: Mapping[str, str] = _HOST_FOLDERS) -> str:
    """Replace the folders of the host by names; other paths are the handler's own words and stay.

    Args:
        text: What a handler said.
        directory: Folder of the unpacked archive.
        archive: What is shown in its place.
        folders: Other folders, each with what is shown in its place.
    """
    shown = {**folders, directory: archive, os.path.realpath(directory): archive}
    longest_first = sorted(shown, key=len, reverse=True)  # One may contain another.
    # A folder may end a sentence, but `/home/ann` is neither a part of `/data/home/ann` nor of `/home/anna`.
    pattern = rf"(?<![\w.~-])(?:{'|'.join(map(re.escape, longest_first))})(?![\w-]|\.\w)"
    return re.sub(pattern, lambda found: shown[found[0]], text)
