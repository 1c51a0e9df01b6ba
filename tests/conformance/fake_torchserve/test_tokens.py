"""Keys are made and asked for alike by the fake TorchServe and by a real one."""

from tests.support.torchserve_client import OCTETS, OpenServer, assert_own_error
from wfmgmt.testing import in_event_loop


class TestTokens:
    """Keys that requests have to show, and the model API that can be off."""

    @in_event_loop
    async def test_each_port_has_its_key(self, open_guarded: OpenServer) -> None:
        """Anything else is refused with 400 on all paths."""
        async with open_guarded() as server:
            kind, message = (
                "InvalidKeyException",
                "Token Authorization failed. Token either incorrect, expired, or not ",
            )
            message += "provided correctly"
            management, inference = server.key("management"), server.key("inference")
            assert (await server.register(headers=management)).status == 200
            for headers in ({}, inference, server.key("API"), {"Authorization": "Bearer wrong"}):
                answer = await server.manage("GET", "/models", headers=headers)
                assert_own_error(answer, 400, kind, message)
            assert (await server.predict("text", headers={**OCTETS, **inference})).status == 200
            for name in ("m", "nope"):
                answer = await server.predict("text", name=name, headers={**OCTETS, **management})
                assert_own_error(answer, 400, kind, message)

    @in_event_loop
    async def test_a_key_is_replaced_on_demand(self, open_guarded: OpenServer) -> None:
        """The new one is in the file only, and the old one is dead at once."""
        async with open_guarded() as server:
            old, other = server.key("management"), server.key("inference")
            answer = await server.manage("GET", "/token?type=management", headers=server.key("API"))
            assert (answer.status, answer.body) == (200, b"\n")
            assert (await server.manage("GET", "/models", headers=old)).status == 400
            assert (await server.manage("GET", "/models", headers=server.key("management"))).status == 200
            assert server.key("inference") == other
            refused = await server.manage("GET", "/token?type=nothing", headers=server.key("API"))
            assert (refused.status, refused.json["type"]) == (400, "InvalidKeyException")

    @in_event_loop
    async def test_the_file_is_for_its_owner(self, open_guarded: OpenServer) -> None:
        """Nobody else can read the keys."""
        async with open_guarded() as server:
            assert server.key_file is not None
            assert server.key_file.stat().st_mode & 0o777 == 0o600

    @in_event_loop
    async def test_the_model_api_can_be_off(self, open_closed: OpenServer) -> None:
        """Then models can be looked at and scaled, and neither registered nor removed."""
        async with open_closed() as server:
            text = "Requested method is not allowed, please refer to API document."
            assert_own_error(await server.register(), 405, "MethodNotAllowedException", text)
            assert_own_error(await server.manage("DELETE", "/models/m"), 405, "MethodNotAllowedException", text)
            assert (await server.manage("GET", "/models")).json == {"models": []}
            answer = await server.manage("PUT", "/models/m")
            assert_own_error(answer, 404, "ModelNotFoundException", "Model not found: m")
