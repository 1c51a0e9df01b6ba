"""The check of what TorchServes hold against what they should hold."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.factories import make_mar
from tests.support.fake_torchserve import FakeTorchServe, Misbehaviour, fake_torchserve
from tests.support.torchserve_models import ARCHIVE, hidden_files, known, load_a_model, names_in, text_of
from tests.support.torchserve_servers import address_of, open_both, open_torchserve_models
from wfmgmt.serving.models.base import DriftKind, NoWorker, WorkerStatus
from wfmgmt.testing import in_event_loop


async def change_workers(fake: FakeTorchServe) -> None:
    """Scale the model behind its client's back."""
    await fake.registry.scale("w__m", None, {"min_worker": "2", "max_worker": "2", "synchronous": "true"})


async def change_batches(fake: FakeTorchServe) -> None:
    """Register the model anew with the same archive and other settings."""
    url = fake.registry.describe("w__m", None)[0]["modelUrl"]
    fake.registry.unregister("w__m", None)
    await fake.register(url, "w__m", initial_workers=1, batch_size=7)


async def replace_model(fake: FakeTorchServe) -> None:
    """Put somebody else's model there."""
    fake.registry.unregister("w__m", None)
    await fake.register(ARCHIVE, "w__m")


@pytest.mark.parametrize(
    ("change", "kind", "is_repaired"),
    [
        (change_workers, DriftKind.WORKERS, True),
        (change_batches, DriftKind.SETTINGS, True),
        (replace_model, DriftKind.NAME_TAKEN, False),
    ],
)
@in_event_loop
async def test_check_repairs_what_was_changed(
    tmp_path: Path, change: Callable[[FakeTorchServe], Any], kind: DriftKind, *, is_repaired: bool
) -> None:
    """What was changed there is found and repaired, once; what belongs to another owner is only reported."""
    async with open_both(tmp_path) as (server, (fake,)):
        model = await load_a_model(server, tmp_path)
        assert await server.check(known("uid1"), dry_run=False) == []
        await change(fake)
        (dry,) = await server.check(known("uid1"), dry_run=True)
        (drift,) = await server.check(known("uid1"), dry_run=False)
        assert (dry.kind, drift.kind, drift.workflow, drift.is_repaired) == (kind, kind, "w", is_repaired)
        if is_repaired:
            assert await server.check(known("uid1"), dry_run=False) == []
            assert await text_of(model) == "echo"
            (described,) = fake.registry.describe("w__m", None)
            assert (described["minWorkers"], described["batchSize"]) == (1, 1)
        else:
            assert model.status.ready == 0
            assert names_in(fake) == ["w__m"]
            with pytest.raises(NoWorker, match="has a model w__m that is not ours"):
                await text_of(model)
            fake.registry.unregister("w__m", None)
            (repaired,) = await server.check(known("uid1"), dry_run=False)
            assert (repaired.kind, repaired.is_repaired) == (DriftKind.MISSING, True)
            assert await text_of(model) == "echo"


async def add_version(fake: FakeTorchServe, folder: Path, *, is_default: bool) -> None:
    """Put somebody else's version beside ours."""
    model = {"modelName": "m", "handler": "handler.py", "modelVersion": "2.0"}
    make_mar(folder, file_name="second.mar", manifest={"model": model})
    await fake.registry.register({"url": "second.mar", "model_name": "w__m", "initial_workers": "1"})
    if is_default:
        fake.registry.set_default("w__m", "2.0")


@pytest.mark.parametrize("is_default", [False, True], ids=["beside the default", "as the default"])
@in_event_loop
async def test_versions_of_others_neither_disturb_nor_answer(tmp_path: Path, *, is_default: bool) -> None:
    """Ours is asked by its version, kept in step beside theirs, and removed alone."""
    async with open_both(tmp_path) as (server, (fake,)):
        model = await load_a_model(server, tmp_path)
        await add_version(fake, tmp_path, is_default=is_default)
        assert await server.check(known("uid1"), dry_run=False) == []
        assert await text_of(model, "echo mine") == "echo mine"
        await model.scale(2, 2)
        assert fake.registry.describe("w__m", "1.0")[0]["minWorkers"] == 2
        await model.unload()
        assert [version["modelVersion"] for version in fake.registry.describe("w__m", "all")] == ["2.0"]


@in_event_loop
async def test_model_that_cannot_be_removed_does_not_end_the_check(tmp_path: Path) -> None:
    """The failure is reported, and everything else is repaired and reported all the same."""
    async with fake_torchserve(tmp_path) as fake:
        async with open_torchserve_models(tmp_path, address_of(fake)) as before:
            for workflow in ("first", "second"):
                await load_a_model(before, tmp_path, uid=f"old-{workflow}", workflow=workflow)
        async with open_torchserve_models(tmp_path, address_of(fake)) as server:
            fake.misbehave("DELETE /models", Misbehaviour.ERROR_500)
            failed, repaired = await server.check(known(), dry_run=False)
            assert (failed.model, failed.is_repaired, repaired.model, repaired.is_repaired) == (
                "first__m",
                False,
                "second__m",
                True,
            )
            assert names_in(fake) == ["first__m"]


@in_event_loop
async def test_check_leaves_other_models_alone(tmp_path: Path) -> None:
    """Those of others, those of other deployments, and those of registrations that are known but not loaded yet."""
    async with fake_torchserve(tmp_path) as fake:
        async with open_torchserve_models(tmp_path, address_of(fake), identity="ffffffffffff") as other:
            await load_a_model(other, tmp_path, workflow="theirs")
        async with open_torchserve_models(tmp_path, address_of(fake)) as before:
            await load_a_model(before, tmp_path, workflow="known")
        await fake.register(ARCHIVE, "somebodys")
        async with open_torchserve_models(tmp_path, address_of(fake)) as server:
            assert await server.check(known("uid1"), dry_run=False) == []
            assert len(hidden_files(tmp_path)) == 2
            assert len(await server.check(known(), dry_run=False)) == 1
            assert len(hidden_files(tmp_path)) == 1
        assert names_in(fake) == ["somebodys", "theirs__m"]


@in_event_loop
async def test_check_reports_a_server_that_fails(tmp_path: Path) -> None:
    """What it holds is unknown, and the status shows why."""
    async with open_both(tmp_path) as (server, (fake,)):
        model = await load_a_model(server, tmp_path)
        fake.misbehave("GET /models", Misbehaviour.OTHER_JSON)
        (drift,) = await server.check(known("uid1"), dry_run=False)
        assert (drift.server, drift.kind, drift.is_repaired) == (fake.management_url, DriftKind.UNKNOWN, False)
        assert "answered with unexpected JSON" in drift.did
        assert "answered with unexpected JSON" in str(model.status.error)
        assert await server.check(known("uid1"), dry_run=False) == []
        assert model.status == WorkerStatus(wanted=1, ready=1)
