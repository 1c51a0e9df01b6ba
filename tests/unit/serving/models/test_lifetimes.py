"""Models from the beginning of their load to the end of their unload, of a server that is not real."""

import asyncio
from pathlib import Path

import pytest

from wfmgmt.errors import ShuttingDown
from wfmgmt.serving.models.base import ModelAlreadyLoaded, ModelNotLoaded
from wfmgmt.serving.models.lifetimes import Lifetime, Lifetimes
from wfmgmt.testing import in_event_loop, make_model


class FakeModel(Lifetime):
    """A model that comes up when the test says so, and does not go if it says so."""

    def __init__(self, lifetimes: "Lifetimes[FakeModel]", uid: str = "uid1", *, goes: bool = True) -> None:
        super().__init__(make_model(Path("nosuch.mar"), uid=uid), lifetimes, on_change=lambda: self.changes.append(uid))
        self.changes: list[str] = []
        self.may_come_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.taken_down = 0
        self.was_ready_then = False
        self._goes = goes

    async def _bring_up(self) -> None:
        await self.may_come_up

    async def _take_down(self) -> None:
        self.taken_down += 1
        self.was_ready_then = self.is_ready
        if not self._goes:
            raise OSError(f"{self.model.key.uid} does not go")


async def loaded(lifetimes: Lifetimes[FakeModel], uid: str = "uid1", *, goes: bool = True) -> FakeModel:
    """Return a model that came up."""
    model = FakeModel(lifetimes, uid, goes=goes)
    model.may_come_up.set_result(None)
    await model.load()
    return model


@in_event_loop
async def test_key_is_free_after_an_unload_that_went_wrong(caplog: pytest.LogCaptureFixture) -> None:
    """The log has the reason; the key can be used again, and closing does not fail either."""
    lifetimes: Lifetimes[FakeModel] = Lifetimes()
    first = await loaded(lifetimes, goes=False)
    with pytest.raises(ModelAlreadyLoaded):
        FakeModel(lifetimes)
    await first.unload()
    assert (list(lifetimes), first.changes, first.is_gone) == ([], ["uid1"], True)
    second = await loaded(lifetimes)
    assert list(lifetimes) == [second]
    await lifetimes.close()
    assert "uid1 does not go" in caplog.text


@in_event_loop
async def test_failed_load_takes_down_what_there_is() -> None:
    """The error is that of the load, and the key is free when it is raised."""
    lifetimes: Lifetimes[FakeModel] = Lifetimes()
    model = FakeModel(lifetimes)
    model.may_come_up.set_exception(ModelNotLoaded("m", "bad weights"))
    with pytest.raises(ModelNotLoaded, match="bad weights"):
        await model.load()
    assert (model.is_ready, model.is_gone, model.taken_down, list(lifetimes)) == (False, True, 1, [])


@in_event_loop
async def test_unload_goes_on_when_its_caller_is_cancelled() -> None:
    """It takes down once, however often it is called."""
    lifetimes: Lifetimes[FakeModel] = Lifetimes()
    model = await loaded(lifetimes)
    unloading = asyncio.create_task(model.unload())
    await asyncio.sleep(0)
    unloading.cancel()
    await asyncio.gather(model.unload(), model.unload())
    await model.unload()
    assert (model.is_ready, model.is_gone, model.taken_down) == (False, True, 1)


@pytest.mark.parametrize("leave_ready", [False, True])
@in_event_loop
async def test_close_leaves_what_is_ready_only_if_it_should(*, leave_ready: bool) -> None:
    """What still loads is taken down either way, and its load fails; nothing more can be loaded."""
    lifetimes: Lifetimes[FakeModel] = Lifetimes()
    ready, late = await loaded(lifetimes), FakeModel(lifetimes, "uid2")
    loading = asyncio.create_task(late.load())
    await asyncio.sleep(0)
    await lifetimes.close(leave_ready=leave_ready)
    with pytest.raises(ShuttingDown):
        await loading
    assert (ready.taken_down, late.taken_down) == (0 if leave_ready else 1, 1)
    assert ready.is_gone
    assert late.is_gone
    with pytest.raises(ShuttingDown):
        FakeModel(lifetimes, "uid3")


@in_event_loop
async def test_model_that_comes_up_while_it_is_unloaded_is_not_ready() -> None:
    """What is taken down must not look as if it could answer."""
    lifetimes: Lifetimes[FakeModel] = Lifetimes()
    model = FakeModel(lifetimes)
    loading = asyncio.create_task(model.load())
    await asyncio.sleep(0)
    model.may_come_up.set_result(None)
    await asyncio.gather(model.unload(), loading, return_exceptions=True)
    assert (model.was_ready_then, model.is_ready, model.taken_down) == (False, False, 1)
