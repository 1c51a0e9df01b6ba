"""The address that the import is given."""

import pytest

from wfmgmt.cli.import_torchserve import management_address
from wfmgmt.errors import BadRequest


@pytest.mark.parametrize(
    "url",
    ["localhost:8081", "file:///etc/passwd", "http://", "http://h:0", "http://h/../x", "http://h?a=b", "http://h/ x"],
)
def test_url_that_is_no_address_of_a_server_is_refused(url: str) -> None:
    """Before anything is asked."""
    with pytest.raises(BadRequest):
        management_address(url)


def test_credentials_are_for_a_header_alone() -> None:
    """Neither what is asked for nor what is shown has them."""
    address = management_address("http://user:secret@h:8081/ts")
    assert (address.requested, address.authorization) == ("http://h:8081/ts", "Basic dXNlcjpzZWNyZXQ=")
