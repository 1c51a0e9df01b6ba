"""What crosses the control socket."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from wfmgmt.control.load_state import LoadState
from wfmgmt.control.messages import (
    DriftReport,
    FiguresReport,
    MemoryReport,
    NodeFigures,
    NodeReport,
    ReachReport,
    StatusChanges,
    TrafficFigures,
    TrafficKind,
    VersionFigures,
    VersionState,
    WorkerFigures,
    WorkflowReport,
    decode,
    encode,
)
from wfmgmt.domain.faults import Fault
from wfmgmt.domain.workflow import LoadRequest, Node, NodeKind, NodeSettings

NOW = datetime(2026, 1, 31, 12, 0, 0, 1, tzinfo=UTC)
REPORT = WorkflowReport(
    uid="u1",
    workflow="seq",
    state=LoadState.FAILED,
    nodes={
        "m1": NodeReport(kind=NodeKind.MODEL, wanted=2, ready=1, error="é\n"),
        "f": NodeReport(kind=NodeKind.FUNCTION),
    },
    failures={"m1": "exited"},
    fault=Fault.NO_ROOM,
    is_out_of_space=True,
)
MESSAGES = (
    REPORT,
    StatusChanges(
        epoch="e", sequence=2**53, catalog_error="", is_complete=True, is_whole=False, workflows=(REPORT,), gone=("u2",)
    ),
    LoadRequest(
        uid="u1",
        workflow="seq",
        archive_file="seq.war",
        archive_sha256="a" * 64,
        handler=None,
        startup_timeout_s=1,
        response_timeout_s=60,
        nodes=(
            Node(name="m1", kind=NodeKind.MODEL, model_file="m.mar", settings=NodeSettings(min_workers=0)),
            Node(name="f", kind=NodeKind.FUNCTION, settings=NodeSettings()),
        ),
        edges=(("m1", "f"),),
    ),
    DriftReport(drifts=("one",), is_in_step=False),
    MemoryReport(unreachable=1, blocks=2, used_bytes=3, free_bytes=4),
    ReachReport(revision=3, reached=False, problem="2.0: m1: exited"),
    FiguresReport(
        revision=3,
        release=None,
        versions={
            "2.0": VersionFigures(
                traffic={TrafficKind.SERVE: TrafficFigures(requests=2, failures=1, p50_ms=0.5, p99_ms=2.0)},
                dropped=1,
                nodes={
                    "m1": NodeFigures(
                        traffic=TrafficFigures(),
                        queued=2,
                        busy_s=1.5,
                        workers=(WorkerFigures(pid=7, started_at=NOW, pss_bytes=4096, threads=None),),
                    )
                },
            )
        },
    ),
)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_message_arrives_as_it_was_sent(message: object) -> None:
    """What one side encodes is what the other side decodes, with the same types."""
    assert decode(type(message), encode(message)) == message


def test_text_that_utf_8_cannot_hold_gets_question_marks() -> None:
    """A handler's error may have a lone surrogate; the report arrives all the same."""
    sent = replace(REPORT, failures={"m1": "a\ud800b"})
    assert decode(WorkflowReport, encode(sent)).failures == {"m1": "a?b"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"malformed",
        b"[]",
        b"null",
        b'{"uid": "u1"}',
        encode(REPORT).replace(b'"failed"', b'"lost"'),
        b"[" * 100_000,
    ],
    ids=["nothing", "not JSON", "a list", "null", "parts missing", "unknown state", "deep nesting"],
)
def test_what_is_no_report_is_a_value_error(content: bytes) -> None:
    """Anything malformed from the other side raises the one error."""
    with pytest.raises(ValueError, match="validation error"):
        decode(WorkflowReport, content)


@pytest.mark.parametrize(
    ("state", "is_routed", "seen"),
    [
        (LoadState.RESTORING, True, VersionState.LOADING),
        (LoadState.SERVING, True, VersionState.READY),
        (LoadState.SERVING, False, VersionState.STANDBY),
        (LoadState.DOWN, False, VersionState.FAILED),
    ],
)
def test_clients_see_the_state_of_a_version(state: LoadState, *, is_routed: bool, seen: VersionState) -> None:
    """Without a share it stands by, and nothing that is missing of it matters to the health of the service."""
    report = replace(REPORT, state=state, is_routed=is_routed, version="2.0")
    assert report.version_state is seen
    assert report.label == "seq/2.0"
    assert report.is_missing is is_routed
