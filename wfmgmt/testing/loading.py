"""What a model server promises about bringing models up and taking them down."""

# ruff: noqa: S101 - assertions are how tests speak

import asyncio
import re
from pathlib import Path

import pytest

from wfmgmt.domain.faults import Fault
from wfmgmt.errors import ShuttingDown
from wfmgmt.serving.models.base import ModelAlreadyLoaded, ModelNotLoaded, WorkerStatus
from wfmgmt.testing.models import GOOD_HANDLER, OpenServer, Suite, WriteMar, ignore, in_event_loop, make_model

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
    """What `ModelServer` promises of loading, scaling and unloading."""

    @in_event_loop
    async def test_load_brings_up_min_workers(self, open_server: OpenServer, write_mar: WriteMar) -> None:
        """When a load returns, as many workers as asked for are ready."""
        async with open_server(ignore) as server:
            await server.load(make_model(write_mar("m.mar", GOOD_HANDLER), min_workers=2))
            assert server.status("w__m") == WorkerStatus(wanted=2, ready=2)

    @in_event_loop
    async def test_load_starts_nothing_when_no_worker_is_asked_for(
        self, open_server: OpenServer, write_mar: WriteMar
    ) -> None:
        """A model without workers is loaded, and can be scaled."""
        async with open_server(ignore) as server:
            await server.load(make_model(write_mar("m.mar", GOOD_HANDLER), min_workers=0))
            assert server.status("w__m") == NOT_LOADED
            await server.scale("w__m", 1)
            assert server.status("w__m") == WorkerStatus(wanted=1, ready=1)

    @in_event_loop
    async def test_load_names_node_and_reason_when_the_handler_fails(
        self, open_server: OpenServer, write_mar: WriteMar
    ) -> None:
        """The error carries the node and, where they are known, the handler's own words; nothing is left."""
        async with open_server(ignore) as server:
            with pytest.raises(ModelNotLoaded, match=re.escape(self.traits.failed_load)) as raised:
                await server.load(make_model(write_mar("m.mar", FAILING_HANDLER), min_workers=2))
            assert raised.value.node == "m"
            assert server.status("w__m") == NOT_LOADED

    @in_event_loop
    async def test_load_frees_the_name_when_it_fails(self, open_server: OpenServer, write_mar: WriteMar) -> None:
        """After a failed load another one of the same name succeeds."""
        async with open_server(ignore) as server:
            with pytest.raises(ModelNotLoaded):
                await server.load(make_model(write_mar("bad.mar", FAILING_HANDLER)))
            await server.load(make_model(write_mar("good.mar", GOOD_HANDLER)))
            assert server.status("w__m").ready == 1

    @in_event_loop
    async def test_load_fails_when_the_startup_timeout_is_over(
        self, open_server: OpenServer, write_mar: WriteMar
    ) -> None:
        """A handler that hangs fails the load in time, and the reason names the setting."""
        async with open_server(ignore) as server:
            model = make_model(write_mar("m.mar", HANGING_HANDLER), startup_timeout_s=0.5)
            with pytest.raises(ModelNotLoaded, match=r"startup_timeout of 0\.5 s"):
                await asyncio.wait_for(server.load(model), 20)
            assert server.status("w__m") == NOT_LOADED

    @in_event_loop
    async def test_load_refuses_a_name_in_use(self, open_server: OpenServer, write_mar: WriteMar) -> None:
        """A second load of a name fails and leaves the first alone."""
        async with open_server(ignore) as server:
            model = make_model(write_mar("m.mar", GOOD_HANDLER))
            await server.load(model)
            with pytest.raises(ModelAlreadyLoaded):
                await server.load(model)
            assert server.status("w__m") == WorkerStatus(wanted=1, ready=1)

    @in_event_loop
    async def test_load_refuses_a_missing_archive(self, open_server: OpenServer, tmp_path: Path) -> None:
        """An archive that is not there is named without its folder."""
        async with open_server(ignore) as server:
            with pytest.raises(ModelNotLoaded) as raised:
                await server.load(make_model(tmp_path / "nosuch.mar"))
            assert raised.value.reason == "Model not found at: nosuch.mar"
            assert raised.value.fault is Fault.FILE

    @in_event_loop
    async def test_load_refuses_a_changed_archive(self, open_server: OpenServer, write_mar: WriteMar) -> None:
        """An archive that is not the registered one is not run."""
        async with open_server(ignore) as server:
            model = make_model(write_mar("m.mar", GOOD_HANDLER), archive_sha256="0" * 64)
            with pytest.raises(ModelNotLoaded, match=r"m\.mar is not the file that was registered") as raised:
                await server.load(model)
            assert raised.value.fault is Fault.FILE

    @in_event_loop
    async def test_load_leaves_nothing_when_it_is_cancelled(self, open_server: OpenServer, write_mar: WriteMar) -> None:
        """Whoever gives up on a load can use the name again."""
        async with open_server(ignore) as server:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(server.load(make_model(write_mar("hangs.mar", HANGING_HANDLER))), 0.5)
            assert server.status("w__m") == NOT_LOADED
            await server.load(make_model(write_mar("good.mar", GOOD_HANDLER)))

    @in_event_loop
    async def test_load_does_not_wait_for_other_loads(self, open_server: OpenServer, write_mar: WriteMar) -> None:
        """A model that takes for ever does not keep another from being loaded."""
        async with open_server(ignore) as server:
            hanging = asyncio.create_task(
                server.load(make_model(write_mar("hangs.mar", HANGING_HANDLER), name="w__hanging", node="hanging"))
            )
            await server.load(make_model(write_mar("good.mar", GOOD_HANDLER)))
            assert not hanging.done()
            hanging.cancel()
            await asyncio.wait({hanging})

    @in_event_loop
    async def test_unload_ends_a_load_under_way(self, open_server: OpenServer, write_mar: WriteMar) -> None:
        """The load fails with a reason, and nothing is left."""
        started = asyncio.Event()
        async with open_server(lambda _: started.set()) as server:
            loading = asyncio.create_task(server.load(make_model(write_mar("m.mar", HANGING_HANDLER))))
            await asyncio.wait_for(started.wait(), 20)
            await server.unload("w__m")
            with pytest.raises(ModelNotLoaded, match="unloaded"):
                await loading
            assert server.status("w__m") == NOT_LOADED

    @in_event_loop
    async def test_unload_frees_the_name(self, open_server: OpenServer, write_mar: WriteMar) -> None:
        """When an unload returns, the model is gone and can be loaded anew."""
        async with open_server(ignore) as server:
            model = make_model(write_mar("m.mar", GOOD_HANDLER), min_workers=2)
            await server.load(model)
            await server.unload("w__m")
            assert server.status("w__m") == NOT_LOADED
            await server.load(model)
            assert server.status("w__m").ready == len({1, 2})

    @in_event_loop
    async def test_unload_can_be_repeated(self, open_server: OpenServer, write_mar: WriteMar) -> None:
        """Unloading twice, at once or one after the other, is as good as once; so is an unknown name."""
        async with open_server(ignore) as server:
            await server.load(make_model(write_mar("m.mar", GOOD_HANDLER)))
            await asyncio.gather(server.unload("w__m"), server.unload("w__m"))
            await server.unload("w__m")
            await server.unload("never loaded")

    @in_event_loop
    async def test_unload_leaves_other_models_alone(self, open_server: OpenServer, write_mar: WriteMar) -> None:
        """Only the model of that name goes, also when others have the same archive and node."""
        async with open_server(ignore) as server:
            archive = write_mar("m.mar", GOOD_HANDLER)
            await server.load(make_model(archive))
            await server.load(make_model(archive, name="v__m", workflow="v"))
            await server.unload("w__m")
            assert server.status("v__m") == WorkerStatus(wanted=1, ready=1)

    @in_event_loop
    async def test_scale_changes_the_number_of_workers(self, open_server: OpenServer, write_mar: WriteMar) -> None:
        """When scaling returns, there are as many workers as asked for, more or fewer."""
        async with open_server(ignore) as server:
            await server.load(make_model(write_mar("m.mar", GOOD_HANDLER)))
            for workers in (3, 1, 1, 0, 2):
                await server.scale("w__m", workers)
                assert server.status("w__m") == WorkerStatus(wanted=workers, ready=workers)

    @in_event_loop
    async def test_scale_keeps_the_number_when_new_workers_fail(
        self, open_server: OpenServer, write_mar: WriteMar, tmp_path: Path
    ) -> None:
        """Workers that cannot be had are no reason to lose those that there are."""
        async with open_server(ignore) as server:
            source = SINGLE_HANDLER.format(folder=str(tmp_path / "taken"))
            await server.load(make_model(write_mar("m.mar", source)))
            with pytest.raises(ModelNotLoaded, match=re.escape(self.traits.failed_scale)) as raised:
                await server.scale("w__m", 2)
            assert raised.value.node == "m"
            assert server.status("w__m") == WorkerStatus(wanted=1, ready=1)

    @in_event_loop
    async def test_scale_refuses_a_model_that_is_not_loaded(self, open_server: OpenServer) -> None:
        """There is nothing to scale under an unknown name."""
        async with open_server(ignore) as server:
            with pytest.raises(ModelNotLoaded, match="not loaded"):
                await server.scale("w__m", 1)

    @in_event_loop
    async def test_changes_are_told(self, open_server: OpenServer, write_mar: WriteMar) -> None:
        """Whoever reads the status whenever told to has seen it become ready, and go."""
        seen: list[WorkerStatus] = []
        async with open_server(lambda name: seen.append(server.status(name))) as server:
            await server.load(make_model(write_mar("m.mar", GOOD_HANDLER)))
            assert seen[-1] == WorkerStatus(wanted=1, ready=1)
            await server.unload("w__m")
            assert seen[-1] == NOT_LOADED

    @in_event_loop
    async def test_close_unloads_everything(self, open_server: OpenServer, write_mar: WriteMar) -> None:
        """After closing, twice if need be, nothing is loaded and nothing more can be."""
        async with open_server(ignore) as server:
            model = make_model(write_mar("m.mar", GOOD_HANDLER))
            await server.load(model)
            await server.close()
            await server.close()
            assert server.status("w__m") == NOT_LOADED
            with pytest.raises(ShuttingDown):
                await server.load(model)
