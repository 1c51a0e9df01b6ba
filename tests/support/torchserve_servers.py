"""TorchServe model servers over fake TorchServes, for tests."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.support.fake_torchserve import FakeTorchServe, fake_torchserve
from tests.support.real_torchserve import TorchServe
from wfmgmt.archives.kept import RUNTIME, KeptArchives
from wfmgmt.archives.reading import sha256_of
from wfmgmt.serving.models.torchserve.server import TorchServeModelServer, TorchServeSettings
from wfmgmt.torchserve.connection import ServerAddress
from wfmgmt.torchserve.keys import Keys

IDENTITY = "0123456789ab"


def address_of(server: Any, key_file: Path | None = None) -> ServerAddress:
    """Return where a TorchServe is, a fake or a real one."""
    is_real = isinstance(server, TorchServe)
    return ServerAddress(
        management_url=server.management if is_real else server.management_url,
        inference_url=server.inference if is_real else server.inference_url,
        keys=Keys(key_file),
    )


@asynccontextmanager
async def open_torchserve_models(
    store: Path,
    *addresses: ServerAddress,
    **overrides: Any,
) -> AsyncIterator[TorchServeModelServer]:
    """Give a model server over these servers, and close it at the end."""
    settings = TorchServeSettings(servers=addresses, model_store=store, **{"identity": IDENTITY, **overrides})
    kept = KeptArchives(store / "kept", owner=RUNTIME)
    server = TorchServeModelServer(settings, kept=kept, digest=sha256_of)
    try:
        yield server
    finally:
        await server.close()


@asynccontextmanager
async def open_both(
    store: Path,
    *,
    fakes: int = 1,
    **overrides: Any,
) -> AsyncIterator[tuple[TorchServeModelServer, list[FakeTorchServe]]]:
    """Give a model server and the fakes that it uses."""
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(fake_torchserve(store)) for _ in range(fakes)]
        models = open_torchserve_models(store, *map(address_of, opened), **overrides)
        yield await stack.enter_async_context(models), opened


def settings_for(fake: Any) -> dict[str, Any]:
    """Return the settings of a deployment that has its models there."""
    address = address_of(fake)
    return {
        "model_server": "torchserve",
        "torchserve_management_urls": address.management_url,
        "torchserve_inference_urls": address.inference_url,
    }


@asynccontextmanager
async def behind_tls(url: str, certificate: Path) -> AsyncIterator[str]:
    """Give an https address in front of a server; the file holds key and certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    port = urlsplit(url).port

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_pipe(reader, there[1]), _pipe(there[0], writer))

    async with await asyncio.start_server(pass_on, "127.0.0.1", 0, ssl=context) as server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
