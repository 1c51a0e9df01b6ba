"""What handlers log, and how."""

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
async def test_handlers_failure_is_an_error_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The traceback of a prediction that fails is there at any level."""
    source = "def handle(data, context):\n    if data:\n        raise ValueError('bad\\x1e10 weather')\n"
    records = await records_of(tmp_path, caplog, source, "error")
    assert records[0] == ("ERROR", "Traceback (most recent call last):")
    assert {level for level, _ in records} == {"ERROR"}
