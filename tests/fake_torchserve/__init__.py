"""A TorchServe for tests: it answers as 0.12.0 does, runs handlers for real, and misbehaves on command.

    async with fake_torchserve(model_store) as fake:
        fake.misbehave("POST /models", Misbehaviour.RESET, carried_out=True)
        ...  # a client of fake.management_url and fake.inference_url
        assert len(fake.requests_of("POST /models")) == 2

What it leaves out: the workflow API, explanations, metrics, and the reason phrases that handlers set.
"""

from tests.fake_torchserve.misbehaviour import Misbehaviour
from tests.fake_torchserve.server import FakeTorchServe, RecordedRequest, fake_torchserve

__all__ = ["FakeTorchServe", "Misbehaviour", "RecordedRequest", "fake_torchserve"]
