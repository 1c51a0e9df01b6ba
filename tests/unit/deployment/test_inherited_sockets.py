"""What systemd says of the sockets that it passes, when it is wrong."""

import os

import pytest

from wfmgmt.deployment.inherited_sockets import InheritedSockets, planes_of
from wfmgmt.errors.commands import SettingsInvalid


@pytest.mark.parametrize("count", ["two", "", "-1", "1.5", "²", "3"])
def test_number_that_makes_no_sense_is_refused(count: str) -> None:
    """The message names the variable and shows what it is."""
    with pytest.raises(SettingsInvalid, match=r"^LISTEN_FDS: expected .*, got "):
        InheritedSockets({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": count})


@pytest.mark.parametrize("count", [{}, {"LISTEN_FDS": "0"}], ids=["no number", "none"])
def test_no_sockets(count: dict[str, str]) -> None:
    """Both addresses then get new ones."""
    environ = {"LISTEN_PID": str(os.getpid()), **count}
    inherited = InheritedSockets(environ)
    assert (inherited.management, inherited.inference, environ) == (None, None, {})


@pytest.mark.parametrize(
    ("names", "planes"),
    [
        ("management", ("management",)),
        ("inference", ("inference",)),
        ("wfmgmt.socket", ("management",)),
        ("management:inference", ("management", "inference")),
        ("inference:management", ("inference", "management")),
        ("wfmgmt.socket:wfmgmt.socket", ("management", "inference")),
        ("inference:wfmgmt.socket", ("management", "inference")),
    ],
)
def test_sockets_are_for_planes_by_name_or_in_order(names: str, planes: tuple[str, ...]) -> None:
    """A socket is for inference when it is called so, and each is named, or when it is the second one."""
    listed = names.split(":")
    assert planes_of(len(listed), listed) == planes
