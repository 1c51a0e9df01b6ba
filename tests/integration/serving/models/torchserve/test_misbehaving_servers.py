"""Models on TorchServes that misbehave, over real sockets and with real workers."""

import asyncio
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.factories import make_mar
from tests.support.fake_torchserve import FakeTorchServe, Misbehaviour, fake_torchserve
from tests.support.model_servers import until
from tests.support.service import CHECKOUT
from tests.support.torchserve_servers import address_of, behind_tls, open_both, open_torchserve_models
from wfmgmt.domain.faults import Fault
from wfmgmt.serving.models.base import (
    DriftKind,
    InputField,
    Model,
    ModelNotLoaded,
    NodeRequest,
    NoWorker,
    PredictionFailed,
    WorkerStatus,
)
from wfmgmt.serving.models.torchserve.server import ServerAddress, TorchServeModelServer
from wfmgmt.testing import in_event_loop, make_model
from wfmgmt.torchserve.keys import Keys, KeySet

#: Answers with its process id, or does what the body says.
HANDLER = """
import os, time

def handle(data, context):
    if data is None:
        return None
    answers = []
    for row in data:
        order = bytes(row["body"]).decode()
        if order.startswith("sleep"):
            time.sleep(float(order.split()[1]))
        answers.append(order if order.startswith("echo") else str(os.getpid()))
    return answers
"""
#: File name of its archive.
ARCHIVE = "m.mar"
#: Key and certificate of a server that nobody vouches for.
CERTIFICATE = CHECKOUT / "tests" / "support" / "self_signed.pem"
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


def a_model(folder: Path, **overrides: Any) -> Model:
    """Return a model of a workflow's registration."""
    return make_model(
        make_mar(folder, file_name=ARCHIVE, source=HANDLER), **{"name": "uid1/m", "timeout_ms": 3000, **overrides}
    )


def asking(body: str = "echo") -> NodeRequest:
    """Return a request with this body."""
    return NodeRequest("the-id", b"{}", [InputField("body", body.encode())])


async def text_of(server: TorchServeModelServer, body: str = "echo", name: str = "uid1/m") -> str:
    """Ask the model and return its answer."""
    return bytes((await asyncio.wait_for(server.infer(name, asking(body)), 30)).content).decode()


def names_in(fake: FakeTorchServe) -> list[str]:
    """Return what a fake holds."""
    return [model["modelName"] for model in fake.registry.page({})["models"]]


def hidden_files(folder: Path) -> list[str]:
    """Return the names that were made for archives."""
    return [path.name for path in folder.iterdir() if path.name.startswith(".wfmgmt-")]


@in_event_loop
async def test_load_registers_what_the_spec_says(tmp_path: Path) -> None:
    """Every setting arrives at the server, under the name of workflow and node."""
    async with open_both(tmp_path) as (server, (fake,)):
        model = a_model(tmp_path, min_workers=2, max_workers=3, batch_size=4, max_batch_delay_ms=70, timeout_ms=1500)
        await server.load(model)
        (described,) = fake.registry.describe("w__m", None)
        told = {key: described[key] for key in ("minWorkers", "maxWorkers", "batchSize", "maxBatchDelay")}
        assert told == {"minWorkers": 2, "maxWorkers": 3, "batchSize": 4, "maxBatchDelay": 70}
        assert (described["responseTimeout"], described["startupTimeout"]) == (2, 30)
        await server.unload("uid1/m")
        assert (names_in(fake), hidden_files(tmp_path)) == ([], [])


@in_event_loop
async def test_load_leaves_somebody_elses_model_alone(tmp_path: Path) -> None:
    """A name that is taken is told, and neither that load nor its unload touches the other's model."""
    async with open_both(tmp_path) as (server, (fake,)):
        model = a_model(tmp_path)
        await fake.register(model.archive.name, "w__m")
        with pytest.raises(ModelNotLoaded, match="has a model w__m that is not ours") as raised:
            await server.load(model)
        assert raised.value.fault is Fault.NAME_TAKEN
        await server.unload("uid1/m")
        assert names_in(fake) == ["w__m"]
        assert fake.requests_of("DELETE /models") == []


@in_event_loop
async def test_load_takes_up_what_an_earlier_process_registered(tmp_path: Path) -> None:
    """A model that is there as it should be is neither registered again nor disturbed; another one of ours is."""
    async with fake_torchserve(tmp_path) as fake:
        for name, registrations in (("uid1/m", 1), ("uid1/m", 1), ("uid2/m", 2)):
            async with open_torchserve_models(tmp_path, address_of(fake)) as server:
                await server.load(a_model(tmp_path, name=name))
                await text_of(server, name=name)
                assert len(fake.requests_of("POST /models")) == registrations
        assert names_in(fake) == ["w__m"]


@in_event_loop
async def test_load_names_node_and_server_when_the_handler_fails(tmp_path: Path) -> None:
    """Only the server knows why, and its log is named; nothing is left anywhere."""
    async with open_both(tmp_path) as (server, (fake,)):
        model = make_model(make_mar(tmp_path, source=FAILING), name="uid1/m")
        with pytest.raises(ModelNotLoaded, match="failed to start workers for model w__m; its log tells why") as raised:
            await server.load(model)
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
            await server.load(a_model(tmp_path, startup_timeout_s=1))
        fake.behave()
        assert raised.value.fault is fault
        assert fake.management_url in raised.value.reason
        assert (names_in(fake), hidden_files(tmp_path)) == ([], [])
        await server.load(a_model(tmp_path))
        await text_of(server)


@in_event_loop
async def test_load_fails_when_no_server_can_be_reached(tmp_path: Path) -> None:
    """The reason says so, and the next try succeeds as soon as the server is there."""
    async with open_both(tmp_path) as (server, (fake,)):
        await fake.refuse()
        with pytest.raises(ModelNotLoaded, match="cannot be reached") as raised:
            await server.load(a_model(tmp_path))
        assert raised.value.fault is Fault.UNREACHABLE
        await fake.open()
        await server.load(a_model(tmp_path))


@in_event_loop
async def test_load_tells_how_torchserve_has_to_be_started(tmp_path: Path) -> None:
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
                await server.load(a_model(tmp_path))


@in_event_loop
async def test_unload_removes_what_can_be_reached_and_the_check_the_rest(tmp_path: Path) -> None:
    """A server that is down keeps its model until it is back; then the model goes, as nobody's."""
    async with open_both(tmp_path, fakes=2) as (server, (up, down)):
        await server.load(a_model(tmp_path))
        await down.refuse()
        await server.unload("uid1/m")
        assert (names_in(up), names_in(down)) == ([], ["w__m"])
        await down.open()
        (drift,) = await server.check({"uid2"}, dry_run=True)
        assert (drift.server, drift.kind, drift.is_repaired) == (down.management_url, DriftKind.EXTRA, False)
        assert names_in(down) == ["w__m"]
        (drift,) = await server.check({"uid2"}, dry_run=False)
        assert drift.is_repaired
        assert names_in(down) == []


@in_event_loop
async def test_unload_is_fine_when_the_model_is_gone(tmp_path: Path) -> None:
    """Somebody removed it by hand: that is what was wanted."""
    async with open_both(tmp_path) as (server, (fake,)):
        await server.load(a_model(tmp_path))
        fake.forget_models()
        await server.unload("uid1/m")
        assert server.status("uid1/m") == WorkerStatus(wanted=0, ready=0)


@pytest.mark.parametrize("moment", ["load", "repair"])
@in_event_loop
async def test_archive_that_is_written_over_while_a_server_reads_it_never_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """The check after the server's own reading takes the model back, before a worker of it has started."""
    async with open_both(tmp_path) as (server, (fake,)):
        model = a_model(tmp_path)
        register = fake.registry.register

        async def write_over_and_register(parameters: Any) -> Any:
            model.archive.write_bytes(model.archive.read_bytes() + b"x")
            return await register(parameters)

        if moment == "repair":
            await server.load(model)
            fake.forget_models()
        monkeypatch.setattr(fake.registry, "register", write_over_and_register)
        if moment == "load":
            with pytest.raises(ModelNotLoaded, match="is not the file that was registered"):
                await server.load(model)
        else:
            (drift,) = await server.check({"uid1"}, dry_run=False)
            assert (drift.is_repaired, drift.kind) == (False, DriftKind.MISSING)
            assert "is not the file that was registered" in drift.did
        assert names_in(fake) == []


@in_event_loop
async def test_close_leaves_models_where_they_are(tmp_path: Path) -> None:
    """The next start finds them."""
    async with fake_torchserve(tmp_path) as fake:
        async with open_torchserve_models(tmp_path, address_of(fake)) as server:
            await server.load(a_model(tmp_path))
        assert names_in(fake) == ["w__m"]


@in_event_loop
async def test_predictions_go_round(tmp_path: Path) -> None:
    """Every server gets its share, and each answer is the model's."""
    async with open_both(tmp_path, fakes=2) as (server, fakes):
        await server.load(a_model(tmp_path))
        for number in range(10):
            assert await text_of(server, f"echo {number}") == f"echo {number}"
        assert [len(fake.requests_of("POST /predictions")) for fake in fakes] == [5, 5]


@in_event_loop
async def test_predictions_leave_out_a_server_that_cannot_be_reached(tmp_path: Path) -> None:
    """No request fails because of it, and it gets its share again once it is back."""
    async with open_both(tmp_path, fakes=2) as (server, (up, down)):
        await server.load(a_model(tmp_path))
        await down.refuse()
        for _ in range(10):
            await text_of(server)
        assert len(up.requests_of("POST /predictions")) == 10
        await down.open()

        async def reach_both() -> bool:
            await text_of(server)
            return bool(down.requests_of("POST /predictions"))

        async with asyncio.timeout(20):
            while not await reach_both():
                pass


@in_event_loop
async def test_load_leaves_out_a_server_that_cannot_be_reached(tmp_path: Path) -> None:
    """The model is served by the others, its status tells, and the check brings the missing one up."""
    async with open_both(tmp_path, fakes=2) as (server, (up, down)):
        await down.refuse()
        await server.load(a_model(tmp_path))
        status = server.status("uid1/m")
        assert (status.wanted, status.ready) == (2, 1)
        assert "cannot be reached" in str(status.error)
        for _ in range(4):
            await text_of(server)
        await down.open()
        (drift,) = await server.check({"uid1"}, dry_run=False)
        assert (drift.kind, drift.server, drift.is_repaired) == (DriftKind.MISSING, down.management_url, True)
        assert server.status("uid1/m") == WorkerStatus(wanted=2, ready=2)
        assert names_in(up) == names_in(down) == ["w__m"]


@pytest.mark.parametrize(
    ("kind", "fault", "reason"),
    [
        (Misbehaviour.RESET, Fault.FAILED, "broke off its answer"),
        (Misbehaviour.RESET_AFTER_HEAD, Fault.FAILED, "broke off its answer"),
        (Misbehaviour.TRUNCATED, Fault.FAILED, "broke off its answer"),
        (Misbehaviour.NO_HTTP, Fault.FAILED, "answered what is not valid HTTP"),
        (Misbehaviour.NEVER, Fault.TIMED_OUT, "no answer within timeout-ms of 500 ms"),
    ],
    ids=lambda value: value.name.lower() if isinstance(value, Misbehaviour) else "",
)
@in_event_loop
async def test_prediction_names_the_server_that_failed(
    tmp_path: Path, kind: Misbehaviour, fault: Fault, reason: str
) -> None:
    """The failure says what the server did; the next request is answered."""
    async with open_both(tmp_path) as (server, (fake,)):
        await server.load(a_model(tmp_path, timeout_ms=500))
        fake.misbehave("POST /predictions", kind)
        with pytest.raises(PredictionFailed, match=reason) as raised:
            await text_of(server)
        assert (raised.value.fault, raised.value.worker) == (fault, None)
        assert fake.inference_url in raised.value.reason
        assert await text_of(server) == "echo"


@in_event_loop
async def test_retry_goes_to_another_server(tmp_path: Path) -> None:
    """The server that failed a request does not get it again while there is another one."""
    async with open_both(tmp_path, fakes=2) as (server, fakes):
        await server.load(a_model(tmp_path))
        for _ in range(4):
            await asyncio.wait_for(server.infer("uid1/m", asking(), avoid=1), 30)
        assert [len(fake.requests_of("POST /predictions")) for fake in fakes] == [0, 4]


@in_event_loop
async def test_forgotten_model_is_asked_for_elsewhere_and_told(tmp_path: Path) -> None:
    """A server that was restarted empty costs no request when another one has the model, and the check is wanted."""
    wanted = asyncio.Event()
    async with open_both(tmp_path, fakes=2, on_forgotten=wanted.set) as (server, (kept, restarted)):
        await server.load(a_model(tmp_path))
        await restarted.restart()
        for _ in range(4):
            await text_of(server)
        assert wanted.is_set()
        await kept.restart()
        with pytest.raises(NoWorker, match="does not hold the model"):
            await text_of(server)
        drifts = await server.check({"uid1"}, dry_run=False)
        assert [(drift.kind, drift.is_repaired) for drift in drifts] == [(DriftKind.MISSING, True)] * 2
        assert await text_of(server) == "echo"


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
async def test_check_mends_what_was_changed(
    tmp_path: Path, change: Callable[[FakeTorchServe], Any], kind: DriftKind, *, is_repaired: bool
) -> None:
    """What somebody changed is found and set right, once; what is somebody else's is only told."""
    async with open_both(tmp_path) as (server, (fake,)):
        await server.load(a_model(tmp_path))
        assert await server.check({"uid1"}, dry_run=False) == []
        await change(fake)
        (dry,) = await server.check({"uid1"}, dry_run=True)
        (drift,) = await server.check({"uid1"}, dry_run=False)
        assert (dry.kind, drift.kind, drift.workflow, drift.is_repaired) == (kind, kind, "w", is_repaired)
        if is_repaired:
            assert await server.check({"uid1"}, dry_run=False) == []
            assert await text_of(server) == "echo"
            (described,) = fake.registry.describe("w__m", None)
            assert (described["minWorkers"], described["batchSize"]) == (1, 1)
        else:
            assert server.status("uid1/m").ready == 0
            assert names_in(fake) == ["w__m"]
            with pytest.raises(NoWorker, match="has a model w__m that is not ours"):
                await text_of(server)
            fake.registry.unregister("w__m", None)
            (mended,) = await server.check({"uid1"}, dry_run=False)
            assert (mended.kind, mended.is_repaired) == (DriftKind.MISSING, True)
            assert await text_of(server) == "echo"


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
        await server.load(a_model(tmp_path))
        await add_version(fake, tmp_path, is_default=is_default)
        assert await server.check({"uid1"}, dry_run=False) == []
        assert await text_of(server, "echo mine") == "echo mine"
        await server.scale("uid1/m", 2)
        assert fake.registry.describe("w__m", "1.0")[0]["minWorkers"] == 2
        await server.unload("uid1/m")
        assert [version["modelVersion"] for version in fake.registry.describe("w__m", "all")] == ["2.0"]


@in_event_loop
async def test_model_that_cannot_be_removed_does_not_end_the_check(tmp_path: Path) -> None:
    """Its server's words are told, and everything else is mended and told all the same."""
    async with fake_torchserve(tmp_path) as fake:
        async with open_torchserve_models(tmp_path, address_of(fake)) as before:
            for workflow in ("first", "second"):
                await before.load(a_model(tmp_path, name=f"old-{workflow}/m", workflow=workflow))
        async with open_torchserve_models(tmp_path, address_of(fake)) as server:
            fake.misbehave("DELETE /models", Misbehaviour.ERROR_500)
            failed, mended = await server.check(set(), dry_run=False)
            assert (failed.model, failed.is_repaired, mended.model, mended.is_repaired) == (
                "first__m",
                False,
                "second__m",
                True,
            )
            assert names_in(fake) == ["first__m"]


@in_event_loop
async def test_silent_server_is_left_out_until_it_answers(tmp_path: Path) -> None:
    """One that accepts connections and says nothing costs no request once that is known, nor a registration."""
    async with open_both(tmp_path, fakes=2, timeout_s=0.5) as (server, (up, silent)):
        await server.load(a_model(tmp_path))
        for endpoint in ("GET /models", "POST /models", "POST /predictions"):
            silent.misbehave(endpoint, Misbehaviour.NEVER, times=None)
        (drift,) = await server.check({"uid1"}, dry_run=False)
        assert (drift.server, drift.kind) == (silent.management_url, DriftKind.UNKNOWN)
        for _ in range(4):
            assert await text_of(server) == "echo"
        await server.load(a_model(tmp_path, name="uid2/m", workflow="late"))
        assert len(names_in(up)) == 2
        silent.behave()
        (drift,) = await server.check({"uid1", "uid2"}, dry_run=False)
        assert (drift.kind, drift.is_repaired) == (DriftKind.MISSING, True)
        before = len(silent.requests_of("POST /predictions"))
        for _ in range(4):
            await text_of(server)
        assert len(silent.requests_of("POST /predictions")) == before + 2


@in_event_loop
async def test_check_leaves_other_models_alone(tmp_path: Path) -> None:
    """Those of others, those of other deployments, and those of registrations that are known but not loaded yet."""
    async with fake_torchserve(tmp_path) as fake:
        async with open_torchserve_models(tmp_path, address_of(fake), identity="ffffffffffff") as other:
            await other.load(a_model(tmp_path, workflow="theirs"))
        async with open_torchserve_models(tmp_path, address_of(fake)) as before:
            await before.load(a_model(tmp_path, workflow="known"))
        await fake.register(ARCHIVE, "somebodys")
        async with open_torchserve_models(tmp_path, address_of(fake)) as server:
            assert await server.check({"uid1"}, dry_run=False) == []
            assert len(hidden_files(tmp_path)) == 2
            assert len(await server.check(set(), dry_run=False)) == 1
            assert len(hidden_files(tmp_path)) == 1
        assert names_in(fake) == ["somebodys", "theirs__m"]


@in_event_loop
async def test_check_tells_of_a_server_that_fails(tmp_path: Path) -> None:
    """What it holds is unknown, and the status shows why."""
    async with open_both(tmp_path) as (server, (fake,)):
        await server.load(a_model(tmp_path))
        fake.misbehave("GET /models", Misbehaviour.OTHER_JSON)
        (drift,) = await server.check({"uid1"}, dry_run=False)
        assert (drift.server, drift.kind, drift.is_repaired) == (fake.management_url, DriftKind.UNKNOWN, False)
        assert "JSON that makes no sense" in drift.did
        assert "JSON that makes no sense" in str(server.status("uid1/m").error)
        assert await server.check({"uid1"}, dry_run=False) == []
        assert server.status("uid1/m") == WorkerStatus(wanted=1, ready=1)


@in_event_loop
async def test_keys_are_read_again_and_asked_for_anew(tmp_path: Path) -> None:
    """Keys that another client had made, and keys that expired, cost nobody a request."""
    keys = tmp_path / "keys"
    keys.mkdir()
    async with (
        fake_torchserve(tmp_path, token_folder=keys) as fake,
        open_torchserve_models(tmp_path, address_of(fake, keys / "key_file.json")) as server,
    ):
        assert fake.tokens is not None
        await server.load(a_model(tmp_path))
        api = json.loads((keys / "key_file.json").read_text())["API"]["key"]
        for kind in ("management", "inference"):
            fake.tokens.rotate(kind, f"Bearer {api}")
        assert await text_of(server) == "echo"
        assert await server.check({"uid1"}, dry_run=False) == []


@in_event_loop
async def test_expired_key_is_renewed_once(tmp_path: Path) -> None:
    """Of many requests that are refused at once one asks for a new key, which all of them use."""
    keys = tmp_path / "keys"
    keys.mkdir()
    async with (
        fake_torchserve(tmp_path, token_folder=keys) as fake,
        open_torchserve_models(tmp_path, address_of(fake, keys / "key_file.json")) as server,
    ):
        assert fake.tokens is not None
        await server.load(a_model(tmp_path))
        fake.tokens.expire("inference")
        answers = await asyncio.gather(*(text_of(server, f"echo {number}") for number in range(20)))
        assert answers == [f"echo {number}" for number in range(20)]
        assert len(fake.requests_of("GET /token")) == 1


@in_event_loop
async def test_wrong_keys_are_told(tmp_path: Path) -> None:
    """A server that refuses us is as good as none, and the reason says that it is the key."""
    keys = tmp_path / "keys"
    keys.mkdir()
    async with (
        fake_torchserve(tmp_path, token_folder=keys) as fake,
        open_torchserve_models(tmp_path, address_of(fake)) as server,
    ):
        with pytest.raises(ModelNotLoaded, match="does not accept our key") as raised:
            await server.load(a_model(tmp_path))
        assert raised.value.fault is Fault.UNREACHABLE
        async with open_torchserve_models(tmp_path, address_of(fake, tmp_path / "nosuch.json")) as other:
            with pytest.raises(ModelNotLoaded, match=r"our key; there are none in nosuch\.json"):
                await other.load(a_model(tmp_path))


@in_event_loop
async def test_handler_that_takes_too_long_is_told_as_such(tmp_path: Path) -> None:
    """Also when TorchServe is quicker than we are to give it up, and says only that its worker died."""
    async with open_both(tmp_path) as (server, (_,)):
        await server.load(a_model(tmp_path, timeout_ms=1000, max_batch_delay_ms=200))
        with pytest.raises(PredictionFailed, match="no answer within timeout-ms of 1000 ms") as raised:
            await text_of(server, "sleep 20")
        assert raised.value.fault is Fault.TIMED_OUT


@in_event_loop
async def test_certificates_of_the_bundle_are_trusted(tmp_path: Path) -> None:
    """A server whose certificate nobody vouches for is not talked to, unless it is in the bundle."""
    async with (
        fake_torchserve(tmp_path) as fake,
        behind_tls(fake.management_url, CERTIFICATE) as management,
        behind_tls(fake.inference_url, CERTIFICATE) as inference,
    ):
        address = ServerAddress(management_url=management, inference_url=inference, keys=Keys(KeySet(), None))
        async with open_torchserve_models(tmp_path, address) as server:
            with pytest.raises(ModelNotLoaded, match="cannot be reached: self-signed certificate") as raised:
                await server.load(a_model(tmp_path))
            assert raised.value.fault is Fault.UNREACHABLE
        async with open_torchserve_models(tmp_path, address, ca_bundle=CERTIFICATE) as server:
            await server.load(a_model(tmp_path))
            assert await text_of(server) == "echo"


@in_event_loop
async def test_worker_that_dies_fails_one_request(tmp_path: Path) -> None:
    """The server replaces it, and whoever asks next is answered."""
    async with open_both(tmp_path) as (server, (fake,)):
        await server.load(a_model(tmp_path))
        pid = int(await text_of(server, "pid"))
        asked = server.infer("uid1/m", asking("sleep 20"))
        await until(lambda: bool(fake.requests_of("POST /predictions")[1:]))
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(PredictionFailed, match="Worker died"):
            await asyncio.wait_for(asked, 10)
        assert int(await text_of(server, "pid")) != pid


@in_event_loop
async def test_workers_come_with_need_and_go_without(tmp_path: Path) -> None:
    """More requests than workers bring one more at a time, up to the maximum; afterwards the minimum is left."""
    async with open_both(tmp_path, idle_timeout_s=0.2) as (server, (fake,)):
        await server.load(a_model(tmp_path, max_workers=2, timeout_ms=10_000))
        asked = [server.infer("uid1/m", asking("sleep 0.7")) for _ in range(6)]
        await asyncio.wait_for(asyncio.gather(*asked), 30)
        scaled = [request.query["min_worker"] for request in fake.requests_of("PUT /models")]
        assert scaled == ["1", "2"]
        await until(lambda: server.status("uid1/m").ready == 1)
        assert fake.registry.describe("w__m", None)[0]["minWorkers"] == 1
        assert await text_of(server) == "echo"


@in_event_loop
async def test_queue_is_bounded(tmp_path: Path) -> None:
    """What waits is counted here, since TorchServe would let it wait for ever."""
    async with open_both(tmp_path, queue_size=2) as (server, (_,)):
        await server.load(a_model(tmp_path, max_workers=1))
        asked = [server.infer("uid1/m", asking("sleep 0.5")) for _ in range(3)]
        with pytest.raises(NoWorker, match=r"2 requests wait for m already \(WFMGMT_QUEUE_SIZE\)"):
            await server.infer("uid1/m", asking())
        await asyncio.gather(*asked)
