"""How many threads the libraries in a worker use."""

import pytest

from wfmgmt.domain.threads import ThreadPolicy
from wfmgmt.domain.workflow import NodeKind, NodeSettings, NodeSpec


def make_node(kind: NodeKind = NodeKind.MODEL) -> NodeSpec:
    """Return a node that may have two workers."""
    return NodeSpec(name="n", kind=kind, url=None, settings=NodeSettings(max_workers=2))


@pytest.mark.parametrize(
    ("policy", "max_workers", "own", "given"),
    [
        (ThreadPolicy(cores=8), 1, None, 8),
        (ThreadPolicy(cores=8), 3, None, 2),
        (ThreadPolicy(cores=2), 4, None, 1),
        (ThreadPolicy(cores=2), 0, None, 2),
        (ThreadPolicy(cores=8), 2, 3, 3),
        (ThreadPolicy(cores=8, per_worker=2), 1, None, 2),
        (ThreadPolicy(cores=8, per_worker=2), 1, 5, 5),
        (ThreadPolicy(cores=8, is_off=True), 1, None, None),
        (ThreadPolicy(cores=8, is_off=True), 1, 5, 5),
        (ThreadPolicy(cores=8, inherited={"MKL_NUM_THREADS": "3"}), 1, 5, None),
    ],
)
def test_worker_is_given_its_part_of_the_cores(
    policy: ThreadPolicy, max_workers: int, own: int | None, given: int | None
) -> None:
    """Unless the operator, the spec or the setting says otherwise, in this order."""
    assert policy.given(max_workers, own) == given


@pytest.mark.parametrize(
    ("value", "shown"), [("3", 3), (" 4,2", 4), ("many", None)], ids=["number", "nested", "no number"]
)
def test_number_of_the_operator_is_shown(value: str, shown: int | None) -> None:
    """As far as it is one."""
    policy = ThreadPolicy(cores=8, inherited={"OMP_NUM_THREADS": value, "MKL_NUM_THREADS": "1"})
    assert policy.of(make_node()) == shown


def test_nothing_is_said_of_models_that_run_elsewhere() -> None:
    """Their functions run here."""
    policy = ThreadPolicy(cores=8, only_functions=True)
    assert policy.of(make_node()) is None
    assert policy.of(make_node(NodeKind.FUNCTION)) == 4
