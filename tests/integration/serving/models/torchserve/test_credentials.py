"""Keys and certificates of TorchServes."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.fake_torchserve import FakeTorchServe, fake_torchserve
from tests.support.fake_torchserve.tokens import Tokens
from tests.support.service import CHECKOUT
from tests.support.torchserve_models import known, load_a_model, text_of
from tests.support.torchserve_servers import address_of, behind_tls, open_torchserve_models
from wfmgmt.domain.faults import Fault
from wfmgmt.serving.models.base import ModelNotLoaded
from wfmgmt.testing import in_event_loop
from wfmgmt.torchserve.connection import ServerAddress
from wfmgmt.torchserve.keys import Keys

#: Key and certificate of a server that nobody vouches for.
CERTIFICATE = CHECKOUT / "tests" / "support" / "self_signed.pem"


@asynccontextmanager
async def guarded_fake(folder: Path) -> AsyncIterator[tuple[FakeTorchServe, Tokens]]:
    """Give a fake that asks for keys, and its keys."""
    keys = folder / "keys"
    keys.mkdir()
    async with fake_torchserve(folder, token_folder=keys) as fake:
        assert fake.tokens is not None
        yield fake, fake.tokens


@in_event_loop
async def test_keys_are_read_again_and_asked_for_anew(tmp_path: Path) -> None:
    """Keys that another client had made, and keys that expired, cost nobody a request."""
    async with (
        guarded_fake(tmp_path) as (fake, tokens),
        open_torchserve_models(tmp_path, address_of(fake, tokens.path)) as server,
    ):
        model = await load_a_model(server, tmp_path)
        api = json.loads(tokens.path.read_text())["API"]["key"]
        for kind in ("management", "inference"):
            tokens.rotate(kind, f"Bearer {api}")
        assert await text_of(model) == "echo"
        assert await server.check(known("uid1"), dry_run=False) == []


@in_event_loop
async def test_expired_key_is_renewed_once(tmp_path: Path) -> None:
    """Of many requests that are refused at once one asks for a new key, which all of them use."""
    async with (
        guarded_fake(tmp_path) as (fake, tokens),
        open_torchserve_models(tmp_path, address_of(fake, tokens.path)) as server,
    ):
        model = await load_a_model(server, tmp_path)
        tokens.expire("inference")
        answers = await asyncio.gather(*(text_of(model, f"echo {number}") for number in range(20)))
        assert answers == [f"echo {number}" for number in range(20)]
        assert len(fake.requests_of("GET /token")) == 1


@in_event_loop
async def test_wrong_keys_are_reported(tmp_path: Path) -> None:
    """A server that refuses us is as good as none, and the reason says that it is the key."""
    async with (
        guarded_fake(tmp_path) as (fake, _),
        open_torchserve_models(tmp_path, address_of(fake)) as server,
    ):
        with pytest.raises(ModelNotLoaded, match="wants a key; name its key_file") as raised:
            await load_a_model(server, tmp_path)
        assert raised.value.fault is Fault.UNREACHABLE
        async with open_torchserve_models(tmp_path, address_of(fake, tmp_path / "nosuch.json")) as other:
            with pytest.raises(ModelNotLoaded, match=r"wants a key; there is none in nosuch\.json"):
                await load_a_model(other, tmp_path)


@in_event_loop
async def test_certificates_of_the_bundle_are_trusted(tmp_path: Path) -> None:
    """A server whose certificate nobody vouches for is not talked to, unless it is in the bundle."""
    async with (
        fake_torchserve(tmp_path) as fake,
        behind_tls(fake.management_url, CERTIFICATE) as management,
        behind_tls(fake.inference_url, CERTIFICATE) as inference,
    ):
        address = ServerAddress(management_url=management, inference_url=inference, keys=Keys())
        async with open_torchserve_models(tmp_path, address) as server:
            with pytest.raises(ModelNotLoaded, match="cannot be reached: self-signed certificate") as raised:
                await load_a_model(server, tmp_path)
            assert raised.value.fault is Fault.UNREACHABLE
        async with open_torchserve_models(tmp_path, address, ca_bundle=CERTIFICATE) as server:
            model = await load_a_model(server, tmp_path)
            assert await text_of(model) == "echo"
