"""The client's errors against the types that the service gives its own."""

import pytest

from wfmgmt.client.errors import Refused
from wfmgmt.http.answers import FRAMEWORK_TYPES, STATUS_AND_TYPE

TYPES = {type_ for _, type_ in STATUS_AND_TYPE.values()} | set(FRAMEWORK_TYPES.values())


@pytest.mark.parametrize("type_", sorted(TYPES))
def test_every_type_has_a_class(type_: str) -> None:
    """Of its name, without what all of them end with."""
    assert f"{Refused.classes[type_].__name__}Exception" == type_


def test_every_class_has_a_type() -> None:
    """What the service no longer says goes."""
    assert set(Refused.classes) == TYPES
