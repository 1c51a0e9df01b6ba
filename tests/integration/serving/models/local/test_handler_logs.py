"""What handlers log, and how."""

import asyncio
import contextlib
import logging
from pathlib import Path

import pytest

from tests.support.factories import make_mar
from tests.support.model_servers import open_servers
from wfmgmt.serving.models.base import InputField, NodeRequest, PredictionFailed
from wfmgmt.serving.models.local.forkserver_client import WorkerEnvironment
from wfmgmt.testing import in_event_loop, load

HANDLER = """
import logging, sys
logger = logging.getLogger(__name__)
def handle(data, context):
    if data is None:
        logger.info("loading")
        return
    logger.debug("detail")
    logger.info("%s of %s", 1, 2)
    logger.warning("odd\\nvery")
    try:
        1 / 0
    except ZeroDivisionError:
        logger.exception("wrong")
    print("printed")
    return [b"ok"]
"""


async def records_of(folder: Path, caplog: pytest.LogCaptureFixture, source: str, level: str) -> list[tuple[str, str]]:
    """Run a handler once and return level and message of all that it logged."""
    caplog.set_level(logging.INFO, logger="wfmgmt.worker")
    caplog.set_level(logging.DEBUG, logger="wfmgmt.handler")
    worker_environment = WorkerEnvironment(log_level=level)
    async with open_servers(folder / "unpacked", worker_environment=worker_environment) as servers:
        model = await load(servers.models, make_mar(folder, source=source))
        request = NodeRequest("r", b"{}", [InputField("body", b"x")])
        with contextlib.suppress(PredictionFailed):
            await model.infer(request)
    return [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "wfmgmt.handler"]


@in_event_loop
async def test_handlers_log_with_their_levels(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Everything from the configured level on is in the log, line by line; what is printed is information."""
    records = await records_of(tmp_path, caplog, HANDLER, "info")
    assert records[:5] == [
        ("INFO", "loading"),
        ("INFO", "1 of 2"),
        ("WARNING", "odd"),
        ("WARNING", "very"),
        ("ERROR", "wrong"),
    ]
    assert {level for level, _ in records[5:-1]} == {"ERROR"}
    assert records[-2:] == [("ERROR", "ZeroDivisionError: division by zero"), ("INFO", "printed")]


@pytest.mark.parametrize(
    ("level", "lowest"), [("debug", ("DEBUG", "detail")), ("warning", ("WARNING", "odd"))], ids=["debug", "warning"]
)
@in_event_loop
async def test_handlers_log_from_the_configured_level_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, level: str, lowest: tuple[str, str]
) -> None:
    """The service's level is that of its workers."""
    records = await records_of(tmp_path, caplog, HANDLER.replace('        logger.info("loading")\n', ""), level)
    assert records[0] == lowest


BASIC = "import logging\nlogging.basicConfig(level=logging.DEBUG, format='own %(message)s', force=FORCE)\n"
LOGS = BASIC + "def handle(data, context):\n    logging.debug('detail'), logging.error('wrong')\n    return [b'']\n"


@pytest.mark.parametrize(
    ("force", "expected"),
    [
        pytest.param("False", ("ERROR", "wrong"), id="which does nothing, as in TorchServe"),
        pytest.param("True", ("INFO", "own detail"), id="by force"),
    ],
)
@in_event_loop
async def test_handlers_may_configure_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, force: str, expected: tuple[str, str]
) -> None:
    """A forced configuration is the handler's own, which prints."""
    records = await records_of(tmp_path, caplog, LOGS.replace("FORCE", force), "info")
    assert records[0] == expected


@in_event_loop
async def test_what_handlers_log_has_the_id_of_the_request(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Of the one that is answered; what was logged while it was loaded, and what is printed, has none."""
    await records_of(tmp_path, caplog, HANDLER, "info")
    found = {record.getMessage(): record.__dict__ for record in caplog.records if record.name == "wfmgmt.handler"}
    assert [found[message].get("request_id") for message in ("loading", "1 of 2", "odd", "printed")] == [
        None, "r", "r", None,
    ]  # fmt: skip
    assert {(fields["workflow"], fields["version"], fields["node"]) for fields in found.values()} == {("w", "1.0", "m")}
    (up,) = [record for record in caplog.records if record.getMessage().startswith("worker up after ")]
    assert {fields["pid"] for fields in found.values()} == {up.__dict__["pid"]}


@in_event_loop
async def test_what_handlers_log_about_a_batch_has_no_id(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It may be about any of its requests."""
    caplog.set_level(logging.INFO, logger="wfmgmt.handler")
    source = (
        "import logging\ndef handle(data, context):\n    if data:\n"
        "        logging.info('batch of %d', len(data))\n        return [b''] * len(data)\n"
    )
    async with open_servers(tmp_path / "unpacked") as servers:
        model = await load(servers.models, make_mar(tmp_path, source=source), batch_size=2, max_batch_delay_ms=10_000)
        await asyncio.gather(*(model.infer(NodeRequest(f"r{n}", b"{}", [InputField("body", b"x")])) for n in range(2)))
    (record,) = [record for record in caplog.records if record.getMessage() == "batch of 2"]
    assert not hasattr(record, "request_id")
