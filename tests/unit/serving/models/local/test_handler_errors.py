"""How errors of handlers are reported."""

import sys

import pytest

from wfmgmt.serving.models.local.handlers import HandlerNotFound
from wfmgmt.serving.models.local.host_paths import folders_of_the_host, hide_host_paths
from wfmgmt.serving.models.local.worker import describe_error


class Unreadable(Exception):  # noqa: D101
    def __str__(self) -> str:
        message = "no text for you"
        raise ValueError(message)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        pytest.param(ValueError("bad weights"), "ValueError: bad weights", id="message"),
        pytest.param(ValueError(), "ValueError", id="no message"),
        pytest.param(SystemExit(3), "SystemExit: 3", id="exit"),
        pytest.param(HandlerNotFound("no such file"), "no such file", id="our own"),
        pytest.param(Unreadable(), "Unreadable: (its text cannot be read)", id="unreadable"),
    ],
)
def test_describe_error_names_type_and_message(error: BaseException, text: str) -> None:
    """The caller gets the type and the message of any handler's error, even if its class misbehaves."""
    assert describe_error(error) == text


def test_describe_error_is_bounded() -> None:
    """A handler cannot make the answer arbitrarily long."""
    assert len(describe_error(ValueError("x" * 100_000))) == 2_000


def test_hide_host_paths_leaves_no_path_of_the_host() -> None:
    """Paths in the archive get the archive's name, and paths of the interpreter lose their beginning."""
    text = f"cannot read /run/unpacked/1f/labels.txt; see {sys.prefix}/lib/x.py"
    hidden = hide_host_paths(text, directory="/run/unpacked/1f", archive="m1.mar")
    assert hidden == "cannot read m1.mar/labels.txt; see python/lib/x.py"


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("[Errno 2] No such file or directory: '/srv/data/x'", "[Errno 2] No such file or directory: '/srv/data/x'"),
        ("/home/ann", "~"),
        ("no /home/ann/data, no /home/ann.", "no ~/data, no ~."),
        ("file:///home/ann/x", "file://~/x"),
        ("/home/ann/wfmgmt/instance/gate", "instance/gate"),
        ("/home/ann/wfmgmt/instances", "wfmgmt/instances"),
        ("/data/home/ann /home/anna /home/ann-b /home/ann.old", "/data/home/ann /home/anna /home/ann-b /home/ann.old"),
        (r"C:\home and (.*)", r"C:\home and (.*)"),
    ],
    ids=["handler's own", "home", "in sentences", "url", "instance", "checkout", "others", "patterns"],
)
def test_hide_host_paths_leaves_other_paths_as_they_are(text: str, hidden: str) -> None:
    """Only whole names of folders are replaced, the longest first; what a handler says beside them stays."""
    folders = {"/home/ann": "~", "/home/ann/wfmgmt": "wfmgmt", "/home/ann/wfmgmt/instance": "instance"}
    assert hide_host_paths(text, directory="/run/1f", archive="m1.mar", folders=folders) == hidden


@pytest.mark.parametrize(
    ("import_root", "shown"),
    [("/srv/checkout", "wfmgmt"), ("/srv/venv/lib/python3.11/site-packages", "python")],
)
def test_other_libraries_are_no_part_of_ours_where_it_is_installed(import_root: str, shown: str) -> None:
    """An installed package lies among those of others."""
    folders = folders_of_the_host(import_root)
    text = f"in {import_root}/numpy/linalg.py"
    assert (
        hide_host_paths(text, directory="/run/1f", archive="m1.mar", folders=folders) == f"in {shown}/numpy/linalg.py"
    )
