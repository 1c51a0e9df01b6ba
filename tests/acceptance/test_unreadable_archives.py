"""Archives that are there but cannot be read: refused in words, with one audit event."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.deployments import deployed
from tests.support.evidence import assert_error, assert_failure_is_audited, nothing_left
from tests.support.factories import make_mar, make_war
from tests.support.service import Service, stored_files

INVALID, NOT_FOUND = (400, "InvalidWorkflowException"), (404, "WorkflowNotFoundException")
#: The superuser reads everything; without capabilities it is a user like others.
PREFIX = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()
OTHER_UID = 65534
Spoil = Callable[[Path], object]

pytestmark = pytest.mark.skipif(
    bool(PREFIX) and shutil.which("setpriv") is None, reason="as root, it takes setpriv to be refused a file"
)


@pytest.fixture(name="service", scope="module")
def _service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A deployment of an ordinary user."""
    with deployed(tmp_path_factory.mktemp("u"), prefix=PREFIX) as service:
        yield service


def give_away(path: Path) -> None:
    """Make a file another user's, who keeps it to himself."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    path.chmod(0o600)
    os.chown(path, OTHER_UID, OTHER_UID)


def link_to(target: str) -> Spoil:
    """Put a link in the place of the file."""

    def spoil(path: Path) -> None:
        path.unlink()
        path.symlink_to(target)

    return spoil


def make_instead(make: Callable[[Path], object]) -> Spoil:
    """Put something else in the place of the file."""

    def spoil(path: Path) -> None:
        path.unlink()
        make(path)

    return spoil


def lock_up(path: Path) -> None:
    """Put the file into a folder that nobody can look into, and a link to it in its place."""
    folder = path.parent / "locked"
    folder.mkdir(exist_ok=True)
    path.rename(folder / path.name)
    path.symlink_to(f"locked/{path.name}")
    folder.chmod(0)


UNREADABLE = {
    "mode 000": (lambda path: path.chmod(0), INVALID, "it cannot be read: Permission denied"),
    "another user's": (give_away, INVALID, "it cannot be read: Permission denied"),
    "in a locked folder": (lock_up, INVALID, "it cannot be read: Permission denied"),
    "I/O error": (link_to("/proc/self/mem"), INVALID, "it cannot be read: Input/output error"),
    "folder": (make_instead(lambda path: path.mkdir()), NOT_FOUND, ""),
    "FIFO": (make_instead(os.mkfifo), NOT_FOUND, ""),
    "device": (link_to("/dev/zero"), NOT_FOUND, ""),
    "dangling link": (link_to("nowhere"), NOT_FOUND, ""),
    "link to itself": (link_to("./x.war"), NOT_FOUND, ""),
}


@pytest.fixture(autouse=True)
def _tidy(service: Service) -> Iterator[None]:
    yield
    for store in (service.workflow_store, service.model_store):
        for path in stored_files(store):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o700)
                shutil.rmtree(path)
            else:
                path.unlink()


@pytest.mark.parametrize(("spoil", "answer", "reason"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_workflow_that_cannot_be_read_is_refused(
    service: Service, spoil: Spoil, answer: tuple[int, str], reason: str
) -> None:
    """The client hears why, and so does the auditor."""
    spoil(make_war(service.workflow_store, name="x"))
    with nothing_left(service):
        refused = service.register("x.war")
    message = f"Workflow archive x.war: {reason}" if reason else "Workflow not found in workflow store: x.war"
    assert_error(refused, *answer, message)
    assert_failure_is_audited(service, refused)


@pytest.mark.parametrize(("spoil", "answer", "reason"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_model_that_cannot_be_read_is_refused(
    service: Service, spoil: Spoil, answer: tuple[int, str], reason: str
) -> None:
    """What holds for workflows holds for their models."""
    del answer
    make_war(service.workflow_store, name="w", spec="models: {m: {url: x.mar}}\ndag: {m: []}\n", handler=None)
    spoil(make_mar(service.model_store, name="x"))
    with nothing_left(service):
        refused = service.register("w.war")
    details = f"x.mar: {reason}" if reason else "Model not found at: x.mar"
    message = f"Workflow w has failed to register. Failures: [Workflow Node w__m failed to register. Details: {details}"
    assert_error(refused, 400, "WorkflowException", message)
    assert_failure_is_audited(service, refused, "w")
