"""The environment of the example with a real model."""

from tests.support.service import CHECKOUT

VENV = CHECKOUT / ".venv-example-real"


def missing() -> str | None:
    """Say what the tests with a real model lack, if anything."""
    return None if (VENV / ".installed").exists() else f"there is no {VENV.name}, which make example-real installs"
