"""Run the example from end to end: build it, serve it, ask it, check its answers, end everything.

The service has an instance in a temporary folder and free ports, so it disturbs no other one.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from examples.real.build import WORKFLOW, build
from wfmgmt.client import Client

BIN = Path(sys.executable).parent
#: Tickets that the classifier has not seen, and where they belong.
TICKETS = {
    "My bank statement shows two payments for one order.": "billing",
    "The parcel should have been here last week. Where is it?\n-- \nAnna\nSent from my coffee machine": "delivery",
    "> How was your purchase?\nThe trousers do not fit, how can I send them back?": "returns",
    "I can't sign in any more, my password is refused.": "account",
    "The toaster gives off smoke and doesn't switch off.": "fault",
    "Who won the match yesterday?": "person",
}
_START_S, _STOP_S, _REGISTER_S = 60.0, 60.0, 120.0


@contextlib.contextmanager
def serve(instance: Path) -> Iterator[Client]:
    """Run a service over an instance folder of its own; what it logs is shown if something fails."""
    log = instance / "service.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [BIN / "wfmgmt", "serve"], env=_environment(instance), stdout=output, stderr=output, start_new_session=True
        )
    try:
        addresses = [_address(instance / "run" / f"{plane}.address") for plane in ("management", "inference")]
        with Client(addresses[0], inference_url=addresses[1], timeout_s=_REGISTER_S) as client:
            yield client
    except BaseException:
        print(log.read_text(encoding="utf-8", errors="replace"), file=sys.stderr)
        raise
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _environment(instance: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("WFMGMT_")}
    own = {"INSTANCE": str(instance), "MANAGEMENT_ADDRESS": "127.0.0.1:0", "INFERENCE_ADDRESS": "127.0.0.1:0"}
    return {**inherited, **{f"WFMGMT_{name}": value for name, value in own.items()}}


def _address(file: Path) -> str:
    """Return the URL that a plane of the service has published."""
    deadline = time.monotonic() + _START_S
    while not file.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the service has not written {file.name}")
        time.sleep(0.1)  # Until the service has started.
    return f"http://{file.read_text(encoding='utf-8').strip()}"


def main() -> int:
    """Return 1 if a ticket went to another queue than the one where it belongs."""
    with tempfile.TemporaryDirectory() as folder:
        instance = Path(folder)
        build(instance / "workflow_store", instance / "model_store")
        with serve(instance) as client:
            began = time.monotonic()
            print(client.register(f"{WORKFLOW}.war").status, f"It took {time.monotonic() - began:.1f} s.")
            answers = {text: json.loads(client.predict(WORKFLOW, text.encode()).text) for text in TICKETS}
    for text, answer in answers.items():
        print(f"{text!r}\n  goes to {answer}")
    wrong = [text for text, answer in answers.items() if answer["queue"] != TICKETS[text]]
    print(f"{len(TICKETS) - len(wrong)} of {len(TICKETS)} tickets went where they belong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
