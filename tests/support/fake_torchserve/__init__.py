"""A TorchServe for tests: it answers as 0.12.0 does, runs handlers for real, and misbehaves on command.

    async with fake_torchserve(model_store) as fake:
        fake.misbehave("POST /models", Misbehaviour.RESET, carried_out=True)
        ...  # a client of fake.management_url and fake.inference_url
        assert len(fake.requests_of("POST /models")) == 2

Tests that block have `fake_torchserve_in_background`. What it leaves out: the workflow API, explanations, metrics, the
reason phrases that handlers set, and connections that stay open against the client's wish.
"""

from tests.support.fake_torchserve.background import BackgroundFake, fake_torchserve_in_background
from tests.support.fake_torchserve.misbehaviour import Misbehaviour
from tests.support.fake_torchserve.server import FakeTorchServe, RecordedRequest, fake_torchserve

__all__ = [
    "BackgroundFake",
    "FakeTorchServe",
    "Misbehaviour",
    "RecordedRequest",
    "fake_torchserve",
    "fake_torchserve_in_background",
]
