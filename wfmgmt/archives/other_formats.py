"""The formats of torch-model-archiver that are not read, and the commands that make a .mar of them."""

import shlex

_TARS = (".tar.gz", ".tgz")


def tar_hint(name: str, suffix: str) -> str:
    """Return what to do with a file of the format `tgz`, as the rest of a sentence; nothing for other files.

    Args:
        name: Of the file.
        suffix: What the name of an archive ends in.
    """
    ending = next((each for each in _TARS if name.endswith(each)), None)
    if ending is None:
        return ""
    stem = name.removesuffix(ending)
    folder = shlex.quote(stem)
    # Unpacked as TorchServe does it, without the first folder; the archiver dates the manifest 1970, which no zip can.
    unpack = f"mkdir {folder} && tar -xzmf {shlex.quote(name)} -C {folder} --strip-components=1"
    return f", tgz is not read; {_converted(f'{unpack} && {_zip(stem, suffix)}', stem + suffix)}"


def folder_hint(name: str, suffix: str) -> str:
    """Return what to do with a folder, which the format `no-archive` is, as the rest of a sentence."""
    return f", no-archive is not read; {_converted(_zip(name, suffix), name + suffix)}"


def _converted(command: str, archive: str) -> str:
    return f"in the store, `{command}` makes {archive} of it, to name instead"


def _zip(folder: str, suffix: str) -> str:
    return f"python3 -m zipfile -c {shlex.quote(folder + suffix)} {shlex.quote(folder + '/.')}"
