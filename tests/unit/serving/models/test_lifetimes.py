"""Names and what has them."""

import pytest

from wfmgmt.serving.models.lifetimes import Lifetimes
from wfmgmt.testing import in_event_loop


@in_event_loop
async def test_name_is_free_after_an_unload_that_went_wrong(caplog: pytest.LogCaptureFixture) -> None:
    """The log has the reason; the name can be used again, and closing does not fail either."""
    changed: list[str] = []

    async def bring_up(_item: str) -> None:
        pass

    async def take_down(item: str) -> None:
        raise OSError(f"{item} does not go")

    lifetimes = Lifetimes(bring_up=bring_up, take_down=take_down, on_change=changed.append)
    await lifetimes.load("name", "n", "first")
    await lifetimes.unload("name")
    assert (lifetimes.find("name"), changed) == (None, ["name"])
    await lifetimes.load("name", "n", "second")
    assert lifetimes.find("name") == "second"
    await lifetimes.close()
    assert "first does not go" in caplog.text
