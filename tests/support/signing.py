"""Keys and signatures, made by ssh-keygen as users make them."""

import subprocess
from pathlib import Path


def make_key(folder: Path, name: str = "release", *, kind: str = "ed25519") -> Path:
    """Make a pair of keys, and return the file of the private one; `NAME.pub` is beside it."""
    key = folder / name
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "", "-f", key], check=True)
    return key


def sign(key: Path, archive: Path, *, namespace: str = "wfmgmt", digest: str = "sha256") -> Path:
    """Sign an archive as the documentation says, and return the file of the signature, which is beside it."""
    signature = archive.with_name(f"{archive.name}.sig")
    signature.unlink(missing_ok=True)
    command: list[str | Path] = [
        "ssh-keygen",
        "-q",
        "-Y",
        "sign",
        "-O",
        f"hashalg={digest}",
        "-n",
        namespace,
        "-f",
        key,
        archive,
    ]
    subprocess.run(command, check=True, capture_output=True)
    return signature
