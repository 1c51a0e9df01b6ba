"""Which service a command calls: the one that is named, else the one that runs in the instance."""

import argparse
from pathlib import Path

from wfmgmt.client.call import Plane
from wfmgmt.client.connection import server_url
from wfmgmt.client.errors import Unreachable
from wfmgmt.deployment.locks import LockFile
from wfmgmt.settings import command_variable


def describe_target(parser: argparse.ArgumentParser) -> None:
    """Add the options that name a service."""
    parser.add_argument("--url", help="management address of the service; else WFMGMT_URL, else the instance's")
    parser.add_argument("--inference-url", metavar="URL", help="its inference address; else WFMGMT_INFERENCE_URL")


def target(options: argparse.Namespace, plane: Plane) -> dict[Plane, str]:
    """Return the address that a command needs.

    Raises:
        Unreachable: None is named, and no service runs in the instance that this process may look into.
        ValueError: It is not the address of a service, or the other one is named alone.
    """
    named = {
        Plane.MANAGEMENT: options.url or command_variable("url"),
        Plane.INFERENCE: options.inference_url or command_variable("inference_url"),
    }
    if named[plane]:
        return {plane: server_url(named[plane])}
    if any(named.values()):
        option, variable = ("--url", "URL") if plane is Plane.MANAGEMENT else ("--inference-url", "INFERENCE_URL")
        raise ValueError(f"the {plane} address of that service is needed: {option} or WFMGMT_{variable}")
    return {plane: _of_instance(Path(command_variable("instance") or "instance"), plane)}


def _of_instance(instance: Path, plane: Plane) -> str:
    """Return where the service of an instance listens. What it wrote down outlives it, and others get its ports."""
    run = instance / "run"
    try:
        is_running = (run / "deployment.lock").exists() and LockFile(run / "deployment.lock").is_held()
        address = (run / f"{plane}.address").read_text(encoding="utf-8").strip() if is_running else ""
    except OSError as error:
        raise Unreachable(f"{error.filename}: {error.strerror}; name the service with --url or WFMGMT_URL.") from error
    if not address:
        raise Unreachable(f"No service runs in {instance}; name another one with --url or WFMGMT_URL.")
    if address.startswith("unix:"):
        raise Unreachable(f"The service of {instance} listens on {address}, which commands cannot call.")
    return f"http://{address}"
