"""How addresses are written."""

import pytest

from wfmgmt.http.addresses import SocketName, listening_url


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (("127.0.0.1", 8081), "http://127.0.0.1:8081"),
        (("::1", 8081, 0, 0), "http://[::1]:8081"),
        ("/run/wfmgmt.sock", "unix:/run/wfmgmt.sock"),
        (b"\0wfmgmt", "unix:@wfmgmt"),
    ],
)
def test_address_is_written_as_clients_need_it(name: SocketName, shown: str) -> None:
    """IPv4, IPv6, a Unix socket in a folder and one that has a name only."""
    assert listening_url(name) == shown
