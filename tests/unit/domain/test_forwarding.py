"""What is believed of proxies."""

import pytest

from wfmgmt.domain.forwarding import Forwarding

PROXIES = Forwarding.of(["10.0.0.1", "10.1.0.0/16", "unix", "2001:db8::/32"], "X-Remote-User")


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "client"),
    [
        ("10.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "6.6.6.6, 203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "203.0.113.7, 10.1.2.3", "203.0.113.7"),
        ("10.0.0.1", "10.1.2.3,10.1.9.9", "10.1.2.3"),
        ("10.0.0.1", "203.0.113.7:4711", "203.0.113.7"),
        ("10.0.0.1", "[2001:db9::1]:80", "2001:db9::1"),
        ("10.0.0.1", "203.0.113.7, nonsense", "10.0.0.1"),
        ("10.0.0.1", "nonsense, 10.1.2.3", "10.1.2.3"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", None, "10.0.0.1"),
        ("::ffff:10.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("", "203.0.113.7", "203.0.113.7"),
        ("10.0.0.2", "203.0.113.7", "10.0.0.2"),
        ("203.0.113.9", "10.0.0.1", "203.0.113.9"),
    ],
)
def test_client_is_the_last_one_that_is_no_proxy(peer: str, forwarded_for: str | None, client: str) -> None:
    """Only proxies that are trusted are believed, and what they got from others is not."""
    assert PROXIES.client(peer, forwarded_for) == client


def test_nothing_is_believed_unless_it_is_set() -> None:
    """Not of a Unix socket, either."""
    nothing = Forwarding.of([], "X-Remote-User")
    assert not nothing.is_on
    assert [nothing.client(peer, "203.0.113.7") for peer in ("", "10.0.0.1")] == ["", "10.0.0.1"]
    assert nothing.user("10.0.0.1", lambda _: "alice") == ""


@pytest.mark.parametrize(
    ("value", "user"),
    [
        ("alice", "alice"),
        (" alice@example ", "alice@example"),
        (None, ""),
        ("", ""),
        ("a\tb", ""),
        ("x" * 129, ""),
        ("Łucja Ñandú 渡辺".encode().decode("latin-1"), "Łucja Ñandú 渡辺"),
        ("Jos\xe9", "Jos\ufffd"),
        ("a\x85b", "a\ufffdb"),
        ("a\u0085b".encode().decode("latin-1"), ""),
        ("a\u2028b".encode().decode("latin-1"), ""),
    ],
)
def test_user_is_what_a_proxy_names(value: str | None, user: str) -> None:
    """As far as it fits into a line of the log."""
    assert PROXIES.user("10.0.0.1", lambda _: value) == user
    assert PROXIES.user("10.0.0.2", lambda _: value) == ""


@pytest.mark.parametrize("proxy", ["nonsense", "10.0.0.1/8", "10.0.0.300", ""])
def test_what_is_no_network_is_refused(proxy: str) -> None:
    """The text says what is wrong with it."""
    with pytest.raises(ValueError, match=r"not appear to be|host bits"):
        Forwarding.of([proxy], "")
