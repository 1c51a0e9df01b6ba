"""Workflows that share files or names, and never workers: what happens to one does not touch the other."""

from collections.abc import Iterator

import pytest

from tests.support.deployments import left_as_found
from tests.support.factories import make_mar, make_war
from tests.support.races import worker_pids
from tests.support.service import Service, wait_until

FAILING = "def initialize():\n    raise ValueError('broken on purpose')\n\n\ninitialize()\n"


@pytest.fixture(name="service")
def _service(service: Service) -> Iterator[Service]:
    """Return a running service without workflows, with the archives of one."""
    with left_as_found(service):
        make_war(service.workflow_store)
        make_mar(service.model_store)
        yield service


def register(service: Service, url: str, name: str) -> set[int]:
    """Register a workflow and return the workers that came with it."""
    before = set(worker_pids(service))
    answer = service.register(url, workflow_name=name)
    assert answer.status_code == 200, answer.text
    return set(worker_pids(service)) - before


def test_workflows_of_the_same_files_have_workers_of_their_own(service: Service) -> None:
    """The removal of one takes its workers, and the other's run on."""
    first, second = register(service, "seq.war", "first"), register(service, "seq.war", "second")
    assert (len(first), len(second)) == (3, 3)
    assert service.unregister("first").status_code == 200
    assert set(worker_pids(service)) == second
    wait_until(lambda: service.ready_workers("second") == [1, 1, 1], what="the report of the second one")


def test_workflows_whose_joined_names_are_equal_do_not_share_models(service: Service) -> None:
    """TorchServe calls both `a__b` with node `c` and `a` with node `b__c` as `a__b__c`; here they are two."""
    for name, node in (("a__b", "c"), ("a", "b__c")):
        make_war(service.workflow_store, name=name, spec=f"models: {{{node}: {{url: m1.mar}}}}\ndag: {{{node}: []}}\n")
    first, second = register(service, "a__b.war", "a__b"), register(service, "a.war", "a")
    assert (len(first), len(second)) == (1, 1)
    assert service.unregister("a__b").status_code == 200
    assert set(worker_pids(service)) == second
    wait_until(lambda: service.ready_workers("a") == [1], what="the report of the second one")


@pytest.mark.parametrize("name", ["first", "second"], ids=["of the same name", "of another name"])
def test_registration_that_fails_leaves_the_workers_of_others_alone(service: Service, name: str) -> None:
    """A second registration of a taken name, and one whose own model fails, take down only what they brought."""
    spec = "models:\n  good: {url: m1.mar}\n  bad: {url: failing.mar}\ndag:\n  good: [bad]\n"
    make_war(service.workflow_store, name="failing", spec=spec)
    make_mar(service.model_store, name="failing", source=FAILING)
    workers = register(service, "seq.war", "first")
    answer = service.register("failing.war", workflow_name=name)
    assert answer.status_code == (409 if name == "first" else 500)
    assert set(worker_pids(service)) == workers
    assert service.names() == ["first"]
    wait_until(lambda: service.ready_workers("first") == [1, 1, 1], what="the report of the first one")
