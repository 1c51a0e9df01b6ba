"""What a model server promises about bringing models up and taking them down."""

# ruff: noqa: S101 - assertions are how tests speak

import asyncio
import re
from pathlib import Path

import pytest

from wfmgmt.domain.faults import Fault
from wfmgmt.errors import ShuttingDown
from wfmgmt.serving.models.base import ModelAlreadyLoaded, ModelNotLoaded, WorkerStatus
from wfmgmt.serving.models.protocol import LoadedModel
from wfmgmt.testing.models import GOOD_HANDLER, OpenServer, Suite, WriteMar, in_event_loop, load, make_model

FAILING_HANDLER = """
class Handler:
    def initialize(self, context):
        raise ValueError("bad weights")

    def handle(self, data, context):
        return data
"""
HANGING_HANDLER = """
import time

def handle(data, context):
    time.sleep(60)
"""
#: Fails in every worker but the first.
SINGLE_HANDLER = """
import os

def handle(data, context):
    if data is None:
        os.mkdir({folder!r})
"""

NOT_LOADED = WorkerStatus(wanted=0, ready=0)


class LoadingConformance(Suite):
    """What `ModelServer` and `LoadedModel` promise of loading, scaling and unloading."""

    @in_event_loop
    async def test_load_brings_up_min_workers(self, open_server: OpenServer, write_mar: WriteMar) -> None:
        """When a load returns, as many workers as wanted are ready."""
        async with open_server() as server:
            model = await load(server, write_mar("m.mar", GOOD_HANDLER), min_workers=2)
            assert model.status == WorkerStatus(wanted=2, ready=2)

    @in_event_loop
    async def test_load_starts_nothing_when_no_worker_is_wanted(
        self, open_server: OpenServer, write_mar: WriteMar
    ) -> None:
        """A model without workers is loaded, and can be scaled."""
        async with open_server() as server:
            model = await load(server, write_mar("m.mar", GOOD_HANDLER), min_workers=0)
            assert model.status == NOT_LOADED
            await model.scale(1, 4)
            assert model.status == WorkerStatus(wanted=1, ready=1)

    @in_event_loop
    async def test_workers_are_those_that_are_ready(self, open_server: OpenServer, write_mar: WriteMar) -> None:
        """Each is the same object for as long as it runs, and says what it takes; none is left after the unload."""
        async with open_server() as server:
            model = await load(server, write_mar("m.mar", GOOD_HANDLER), min_workers=2)
            workers = list(model.workers)
            assert len({worker.pid for worker in workers}) == len(workers) == (2 if self.traits.shows_workers else 0)
            for worker in workers:
                usage = worker.read_usage()
                assert (usage.threads or 0) >= 1
                assert (usage.pss_bytes or 0) > 0
            await model.scale(1, 1)
            assert set(model.workers) <= set(workers)
            assert len(model.workers) == (1 if self.traits.shows_workers else 0)
            assert model.queued == 0
            await model.unload()
            assert not model.workers

    @in_event_loop
    async def test_load_names_node_and_reason_when_the_handler_fails(
        self, open_server: OpenServer, write_mar: WriteMar
    ) -> None:
        """The error carries the node and, where they are known, the handler's own words."""
        async with open_server() as server:
            with pytest.raises(ModelNotLoaded, match=re.escape(self.traits.failed_load)) as raised:
                await load(server, write_mar("m.mar", FAILING_HANDLER), min_workers=2)
            assert raised.value.node == "m"

    @in_event_loop
    async def test_load_frees_the_key_when_it_fails(self, open_server: OpenServer, write_mar: WriteMar) -> None:
        """After a failed load another one of the same key succeeds."""
        async with open_server() as server:
            with pytest.raises(ModelNotLoaded):
                await load(server, write_mar("bad.mar", FAILING_HANDLER))
            model = await load(server, write_mar("good.mar", GOOD_HANDLER))
            assert model.status.ready == 1

    @in_event_loop
    async def test_load_fails_when_the_startup_timeout_is_over(
        self, open_server: OpenServer, write_mar: WriteMar
    ) -> None:
        """A handler that hangs fails the load in time, the reason names the setting, and the key is free."""
        async with open_server() as server:
            with pytest.raises(ModelNotLoaded, match=r"startup_timeout of 0\.5 s"):
                await asyncio.wait_for(load(server, write_mar("m.mar", HANGING_HANDLER), startup_timeout_s=0.5), 20)
            await load(server, write_mar("good.mar", GOOD_HANDLER))

    @in_event_loop
    async def test_load_refuses_a_key_in_use(self, open_server: OpenServer, write_mar: WriteMar) -> None:
        """A second load of a key fails and leaves the first alone."""
        async with open_server() as server:
            archive = write_mar("m.mar", GOOD_HANDLER)
            model = await load(server, archive)
            with pytest.raises(ModelAlreadyLoaded):
                await load(server, archive)
            assert model.status == WorkerStatus(wanted=1, ready=1)

    @in_event_loop
    async def test_load_refuses_a_missing_archive(self, open_server: OpenServer, tmp_path: Path) -> None:
        """An archive that is not there is named without its folder."""
        async with open_server() as server:
            with pytest.raises(ModelNotLoaded) as raised:
                await load(server, tmp_path / "nosuch.mar")
            assert raised.value.reason == "Model not found at: nosuch.mar"
            assert raised.value.fault is Fault.FILE

    @in_event_loop
    async def test_load_refuses_a_changed_archive(self, open_server: OpenServer, write_mar: WriteMar) -> None:
        """An archive that is not the registered one is not run."""
        async with open_server() as server:
            with pytest.raises(ModelNotLoaded, match=r"m\.mar is not the file that was registered") as raised:
                await load(server, write_mar("m.mar", GOOD_HANDLER), archive_sha256="0" * 64)
            assert raised.value.fault is Fault.FILE

    @in_event_loop
    async def test_load_leaves_nothing_when_it_is_cancelled(self, open_server: OpenServer, write_mar: WriteMar) -> None:
        """The key of a load that was cancelled is free."""
        async with open_server() as server:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(load(server, write_mar("hangs.mar", HANGING_HANDLER)), 0.5)
            await load(server, write_mar("good.mar", GOOD_HANDLER))

    @in_event_loop
    async def test_load_does_not_wait_for_other_loads(self, open_server: OpenServer, write_mar: WriteMar) -> None:
        """A model that takes for ever does not keep another from being loaded."""
        async with open_server() as server:
            hanging = asyncio.create_task(load(server, write_mar("hangs.mar", HANGING_HANDLER), node="hanging"))
            await load(server, write_mar("good.mar", GOOD_HANDLER))
            assert not hanging.done()
            hanging.cancel()
            await asyncio.wait({hanging})

    @in_event_loop
    async def test_close_ends_a_load_under_way(self, open_server: OpenServer, write_mar: WriteMar) -> None:
        """The load fails since the server is closed."""
        started = asyncio.Event()
        async with open_server() as server:
            model = make_model(write_mar("m.mar", HANGING_HANDLER))
            loading = asyncio.create_task(server.load(model, on_change=started.set))
            await asyncio.wait_for(started.wait(), 20)
            await server.close()
            with pytest.raises(ShuttingDown):
                await loading

    @in_event_loop
    async def test_unload_frees_the_key(self, open_server: OpenServer, write_mar: WriteMar) -> None:
        """When an unload returns, the model is gone and can be loaded anew; the old handle stays gone."""
        async with open_server() as server:
            archive = write_mar("m.mar", GOOD_HANDLER)
            model = await load(server, archive, min_workers=2)
            await model.unload()
            assert model.status == NOT_LOADED
            again = await load(server, archive, min_workers=2)
            await model.unload()
            assert again.status == WorkerStatus(wanted=2, ready=2)
            assert model.status == NOT_LOADED

    @in_event_loop
    async def test_unload_can_be_repeated(self, open_server: OpenServer, write_mar: WriteMar) -> None:
        """Unloading twice, at once or one after the other, is as good as once."""
        async with open_server() as server:
            model = await load(server, write_mar("m.mar", GOOD_HANDLER))
            await asyncio.gather(model.unload(), model.unload())
            await model.unload()
            assert model.status == NOT_LOADED

    @in_event_loop
    async def test_unload_leaves_other_models_alone(self, open_server: OpenServer, write_mar: WriteMar) -> None:
        """Only that model goes, also when others have the same archive and node."""
        async with open_server() as server:
            archive = write_mar("m.mar", GOOD_HANDLER)
            model = await load(server, archive)
            other = await load(server, archive, uid="uid2", workflow="v")
            await model.unload()
            assert other.status == WorkerStatus(wanted=1, ready=1)

    @in_event_loop
    async def test_scale_changes_the_number_of_workers(self, open_server: OpenServer, write_mar: WriteMar) -> None:
        """When scaling returns, there are as many workers as wanted, more or fewer."""
        async with open_server() as server:
            model = await load(server, write_mar("m.mar", GOOD_HANDLER))
            for workers in (3, 1, 1, 0, 2):
                await model.scale(workers, workers)
                assert model.status == WorkerStatus(wanted=workers, ready=workers)

    @in_event_loop
    async def test_scale_leaves_workers_between_minimum_and_maximum(
        self, open_server: OpenServer, write_mar: WriteMar
    ) -> None:
        """Those that there are may be needed; they go when they are idle."""
        async with open_server() as server:
            model = await load(server, write_mar("m.mar", GOOD_HANDLER))
            await model.scale(3, 4)
            await model.scale(1, 4)
            assert model.status == WorkerStatus(wanted=1, ready=3)
            await model.scale(1, 2)
            assert model.status == WorkerStatus(wanted=1, ready=2)

    @in_event_loop
    async def test_scale_keeps_the_number_when_new_workers_fail(
        self, open_server: OpenServer, write_mar: WriteMar, tmp_path: Path
    ) -> None:
        """Workers that do not come up are no reason to lose those that there are."""
        async with open_server() as server:
            source = SINGLE_HANDLER.format(folder=str(tmp_path / "taken"))
            model = await load(server, write_mar("m.mar", source))
            with pytest.raises(ModelNotLoaded, match=re.escape(self.traits.failed_scale)) as raised:
                await model.scale(2, 2)
            assert raised.value.node == "m"
            assert model.status == WorkerStatus(wanted=1, ready=1)

    @in_event_loop
    async def test_scale_refuses_a_model_that_is_unloaded(self, open_server: OpenServer, write_mar: WriteMar) -> None:
        """A handle brings nothing back."""
        async with open_server() as server:
            model = await load(server, write_mar("m.mar", GOOD_HANDLER))
            await model.unload()
            with pytest.raises(ModelNotLoaded):
                await model.scale(1, 1)
            assert model.status == NOT_LOADED

    @in_event_loop
    async def test_changes_are_reported(self, open_server: OpenServer, write_mar: WriteMar) -> None:
        """Reading the status on every change shows how it goes down and up, and that it is gone."""
        seen: list[WorkerStatus] = []
        loaded: list[LoadedModel] = []
        async with open_server() as server:
            model = make_model(write_mar("m.mar", GOOD_HANDLER))
            loaded.append(await server.load(model, on_change=lambda: seen.extend(each.status for each in loaded)))
            await loaded[0].scale(2, 2)
            assert seen[-1] == WorkerStatus(wanted=2, ready=2)
            await loaded[0].unload()
            assert seen[-1] == NOT_LOADED

    @in_event_loop
    async def test_close_unloads_everything(self, open_server: OpenServer, write_mar: WriteMar) -> None:
        """After closing, twice if need be, every handle is as if unloaded and nothing more can be loaded."""
        async with open_server() as server:
            archive = write_mar("m.mar", GOOD_HANDLER)
            model = await load(server, archive)
            await server.close()
            await server.close()
            assert model.status == NOT_LOADED
            with pytest.raises(ShuttingDown):
                await load(server, archive)
