"""Models are loaded onto TorchServes that misbehave, and unloaded: over real sockets and with real workers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.factories import make_mar
from tests.support.fake_torchserve import Misbehaviour, fake_torchserve
from tests.support.torchserve_models import a_model, hidden_files, known, load_a_model, names_in, text_of
from tests.support.torchserve_servers import address_of, open_both, open_torchserve_models
from wfmgmt.domain.faults import Fault
from wfmgmt.serving.models.base import DriftKind, ModelKey, ModelNotLoaded, WorkerStatus
from wfmgmt.testing import ignore, in_event_loop, load

FAILING = "raise ValueError('bad weather')\n"
FAULTS = [
    (Misbehaviour.RESET, Fault.FAILED),
    (Misbehaviour.RESET_AFTER_HEAD, Fault.FAILED),
    (Misbehaviour.TRUNCATED, Fault.FAILED),
    (Misbehaviour.NO_HTTP, Fault.FAILED),
    (Misbehaviour.NEVER, Fault.TIMED_OUT),
    (Misbehaviour.ERROR_503, Fault.FAILED),
    (Misbehaviour.ERROR_507, Fault.FAILED),
]


@in_event_loop
async def test_load_registers_what_the_spec_says(tmp_path: Path) -> None:
    """Every setting arrives at the server, under the name of workflow and node."""
    async with open_both(tmp_path) as (server, (fake,)):
        rules = {"batch_size": 4, "max_batch_delay_ms": 70, "timeout_ms": 1500}
        model = await load_a_model(server, tmp_path, min_workers=2, max_workers=3, **rules)
        (described,) = fake.registry.describe("w__m", None)
        told = {key: described[key] for key in ("minWorkers", "maxWorkers", "batchSize", "maxBatchDelay")}
        assert told == {"minWorkers": 2, "maxWorkers": 3, "batchSize": 4, "maxBatchDelay": 70}
        assert (described["responseTimeout"], described["startupTimeout"]) == (2, 30)
        await model.unload()
        assert (names_in(fake), hidden_files(tmp_path)) == ([], [])


@in_event_loop
async def test_versions_of_a_workflow_are_models_of_their_own(tmp_path: Path) -> None:
    """Those of the version 1.0 keep TorchServe's name, others have theirs in it, and one goes without the others."""
    async with open_both(tmp_path) as (server, (fake,)):
        versions = {"1.0": "w__m", "2.0": "w__m__2.0", "2.0+cpu": "w__m__2.0-cpu-42e60efc"}
        models = {
            version: await load_a_model(server, tmp_path, uid=f"uid{version[0]}{len(version)}", version=version)
            for version in versions
        }
        assert sorted(names_in(fake)) == sorted(versions.values())
        assert [await text_of(model) for model in models.values()] == ["echo"] * 3
        await models.pop("2.0").unload()
        assert sorted(names_in(fake)) == sorted(versions[version] for version in models)
        assert await text_of(models["2.0+cpu"]) == "echo"


@in_event_loop
async def test_load_leaves_somebody_elses_model_alone(tmp_path: Path) -> None:
    """The error names a name that is taken, and the load does not touch the other's model."""
    async with open_both(tmp_path) as (server, (fake,)):
        await fake.register(a_model(tmp_path).archive.name, "w__m")
        with pytest.raises(ModelNotLoaded, match="has a model w__m that is not ours") as raised:
            await load_a_model(server, tmp_path)
        assert raised.value.fault is Fault.NAME_TAKEN
        assert names_in(fake) == ["w__m"]
        assert fake.requests_of("DELETE /models") == []


@in_event_loop
async def test_load_takes_up_what_an_earlier_process_registered(tmp_path: Path) -> None:
    """A model that is there as it should be is neither registered again nor disturbed; another one of ours is."""
    async with fake_torchserve(tmp_path) as fake:
        for uid, registrations in (("uid1", 1), ("uid1", 1), ("uid2", 2)):
            async with open_torchserve_models(tmp_path, address_of(fake)) as server:
                model = await load_a_model(server, tmp_path, uid=uid)
                await text_of(model)
                assert len(fake.requests_of("POST /models")) == registrations
        assert names_in(fake) == ["w__m"]


@in_event_loop
async def test_load_names_node_and_server_when_the_handler_fails(tmp_path: Path) -> None:
    """Only the server knows why, and its log is named; nothing is left anywhere."""
    async with open_both(tmp_path) as (server, (fake,)):
        with pytest.raises(ModelNotLoaded, match="failed to start workers for model w__m; its log says why") as raised:
            await load(server, make_mar(tmp_path, source=FAILING))
        assert (raised.value.node, raised.value.fault) == ("m", Fault.MODEL)
        assert fake.management_url in raised.value.reason
        assert (names_in(fake), hidden_files(tmp_path)) == ([], [])


@pytest.mark.parametrize(
    ("step", "carried_out"),
    [
        ("GET /models", False),
        ("POST /models", False),
        ("POST /models", True),
        ("PUT /models", False),
        ("PUT /models", True),
    ],
    ids=["describe", "register", "register, carried out", "scale", "scale, carried out"],
)
@pytest.mark.parametrize(("kind", "fault"), FAULTS, ids=[kind.name.lower() for kind, _ in FAULTS])
@in_event_loop
async def test_load_leaves_nothing_when_the_server_fails(
    tmp_path: Path, step: str, kind: Misbehaviour, fault: Fault, *, carried_out: bool
) -> None:
    """At every step, whether it was carried out or not: a clear fault that names the server, and nothing is left."""
    async with open_both(tmp_path, timeout_s=0.5) as (server, (fake,)):
        fake.misbehave(step, kind, carried_out=carried_out, times=None)
        with pytest.raises(ModelNotLoaded) as raised:
            await load_a_model(server, tmp_path, startup_timeout_s=1)
        fake.behave()
        assert raised.value.fault is fault
        assert fake.management_url in raised.value.reason
        assert (names_in(fake), hidden_files(tmp_path)) == ([], [])
        model = await load_a_model(server, tmp_path)
        await text_of(model)


@in_event_loop
async def test_load_fails_when_no_server_can_be_reached(tmp_path: Path) -> None:
    """The reason says so, and the next attempt succeeds as soon as the server is there."""
    async with open_both(tmp_path) as (server, (fake,)):
        await fake.refuse()
        with pytest.raises(ModelNotLoaded, match="cannot be reached") as raised:
            await load_a_model(server, tmp_path)
        assert raised.value.fault is Fault.UNREACHABLE
        await fake.open()
        await load_a_model(server, tmp_path)


@in_event_loop
async def test_load_error_says_how_torchserve_has_to_be_started(tmp_path: Path) -> None:
    """A server without its model API, or with another model store, is no riddle."""
    (tmp_path / "other").mkdir()
    for store, model_api, advice in (
        (tmp_path, False, "started with its model API enabled"),
        (tmp_path / "other", True, "its model store has to be the folder MODEL_STORE"),
    ):
        async with (
            fake_torchserve(store, model_api=model_api) as fake,
            open_torchserve_models(tmp_path, address_of(fake)) as server,
        ):
            with pytest.raises(ModelNotLoaded, match=advice):
                await load_a_model(server, tmp_path)


@in_event_loop
async def test_unload_removes_what_can_be_reached_and_the_check_the_rest(tmp_path: Path) -> None:
    """A server that is down keeps its model until it is back; then the model goes, as nobody's."""
    async with open_both(tmp_path, fakes=2) as (server, (up, down)):
        model = await load_a_model(server, tmp_path)
        await down.refuse()
        await model.unload()
        assert (names_in(up), names_in(down)) == ([], ["w__m"])
        await down.open()
        (drift,) = await server.check(known("uid2"), dry_run=True)
        assert (drift.server, drift.kind, drift.is_repaired) == (down.management_url, DriftKind.EXTRA, False)
        assert names_in(down) == ["w__m"]
        (drift,) = await server.check(known("uid2"), dry_run=False)
        assert drift.is_repaired
        assert names_in(down) == []


@in_event_loop
async def test_unload_is_fine_when_the_model_is_gone(tmp_path: Path) -> None:
    """Somebody removed it by hand: that is what was wanted."""
    async with open_both(tmp_path) as (server, (fake,)):
        model = await load_a_model(server, tmp_path)
        fake.forget_models()
        await model.unload()
        assert model.status == WorkerStatus(wanted=0, ready=0)


@pytest.mark.parametrize("moment", ["load", "repair"])
@in_event_loop
async def test_archive_that_is_written_over_in_the_store_makes_no_difference(tmp_path: Path, moment: str) -> None:
    """What is kept was registered, and what a server reads is another name of that."""
    async with open_both(tmp_path) as (server, (fake,)):
        model = a_model(tmp_path)
        if moment == "load":
            await server.load(model, on_change=ignore)
            model.archive.write_bytes(b"something else")
            other = replace(model, key=ModelKey("uid2", "m"), workflow="v")
            assert await text_of(await server.load(other, on_change=ignore)) == "echo"
        else:
            loaded = await server.load(model, on_change=ignore)
            model.archive.write_bytes(b"something else")
            fake.forget_models()
            (drift,) = await server.check(known("uid1"), dry_run=False)
            assert (drift.is_repaired, drift.kind) == (True, DriftKind.MISSING)
            assert await text_of(loaded) == "echo"


@pytest.mark.parametrize("moment", ["load", "repair"])
@in_event_loop
async def test_archive_that_changes_while_a_server_reads_it_never_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """The check after the server's own reading takes the model back, before a worker of it has started.

    Only somebody who may write as the service does could change what is kept.
    """
    async with open_both(tmp_path) as (server, (fake,)):
        model = a_model(tmp_path)
        register = fake.registry.register

        async def write_over_and_register(parameters: Any) -> Any:
            file = tmp_path / parameters["url"]
            file.chmod(0o600)
            file.write_bytes(file.read_bytes() + b"x")
            return await register(parameters)

        if moment == "repair":
            await server.load(model, on_change=ignore)
            fake.forget_models()
        monkeypatch.setattr(fake.registry, "register", write_over_and_register)
        if moment == "load":
            with pytest.raises(ModelNotLoaded, match="is not the file that was registered"):
                await server.load(model, on_change=ignore)
        else:
            (drift,) = await server.check(known("uid1"), dry_run=False)
            assert (drift.is_repaired, drift.kind) == (False, DriftKind.MISSING)
            assert "is not the file that was registered" in drift.did
        assert names_in(fake) == []


@in_event_loop
async def test_close_leaves_models_where_they_are(tmp_path: Path) -> None:
    """The next start finds them."""
    async with fake_torchserve(tmp_path) as fake:
        async with open_torchserve_models(tmp_path, address_of(fake)) as server:
            await load_a_model(server, tmp_path)
        assert names_in(fake) == ["w__m"]


@in_event_loop
async def test_load_leaves_out_a_server_that_cannot_be_reached(tmp_path: Path) -> None:
    """The model is served by the others, its status tells, and the check brings the missing one up."""
    async with open_both(tmp_path, fakes=2) as (server, (up, down)):
        await down.refuse()
        model = await load_a_model(server, tmp_path)
        status = model.status
        assert (status.wanted, status.ready) == (2, 1)
        assert "cannot be reached" in str(status.error)
        for _ in range(4):
            await text_of(model)
        await down.open()
        (drift,) = await server.check(known("uid1"), dry_run=False)
        assert (drift.kind, drift.server, drift.is_repaired) == (DriftKind.MISSING, down.management_url, True)
        assert model.status == WorkerStatus(wanted=2, ready=2)
        assert names_in(up) == names_in(down) == ["w__m"]
