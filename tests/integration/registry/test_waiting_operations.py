"""Operations of several kinds that wait, on each database."""

from tests.support.operations import make_operation
from wfmgmt.domain.operations import NodeProgress, OperationKind, OperationPhase, OperationState
from wfmgmt.registry.registry import Registry


def test_kinds_wait_apart(registry: Registry) -> None:
    """Registrations are not read for changes, and an end that is wanted is at once that of what waits."""
    kinds = {
        "a": OperationKind.REGISTER,
        "b": OperationKind.SCALE,
        "c": OperationKind.RELEASE,
        "e": OperationKind.APPLY,
        "d": OperationKind.SCALE,
    }
    with registry.write() as writer:
        operations = writer.operations
        for workflow, kind in kinds.items():
            assert operations.begin(make_operation(workflow, kind=kind), None)
        changes = (OperationKind.SCALE, OperationKind.RELEASE)
        assert [each.workflow for each in operations.queued(changes)] == ["b", "c", "d"]
        assert [operations.count_queued(kind) for kind in OperationKind] == [1, 2, 1, 1]
        taken = operations.take_next("lease", lambda _: True, changes)
        assert taken is not None
        assert (taken.workflow, operations.under_way("b"), operations.under_way("a") != "") == ("b", "", True)
        running = operations.with_lease("lease")
        assert running is not None
        assert running.progress.phase is OperationPhase.LOADING
        (scaling,) = operations.scaling("d", "1.0")
        for each, state in ((scaling, OperationState.CANCELLED), (running, OperationState.RUNNING)):
            operations.cancel(each, "anonymous")
            found = operations.get(each.uid)
            assert found is not None
            assert (found.state, found.cancelled_by) == (state, "anonymous")
            assert operations.scaling(each.workflow, "1.0") == []
            assert operations.succeed(each.uid, {}, {}) is None


def test_what_waits_may_be_there_before_it_is_begun(registry: Registry) -> None:
    """Then it is done, once."""
    new = make_operation(kind=OperationKind.SCALE)
    with registry.write() as writer:
        assert writer.operations.begin(new, None)
        nodes = {"m1": NodeProgress(ready=2, wanted=2)}
        before = writer.operations.succeed(new.uid, nodes, {"revision": 3})
        assert before is not None
        assert before.state is OperationState.QUEUED
        assert writer.operations.succeed(new.uid, nodes, {"revision": 3}) is None
        found = writer.operations.get(new.uid)
    assert found is not None
    assert (found.state, found.progress.nodes, found.result) == (OperationState.SUCCEEDED, nodes, {"revision": 3})
