"""What trusted proxies say about the clients whose requests they pass on."""

import ipaddress
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Stands for all clients of a Unix socket.
UNIX = "unix"
_USER = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]{1,128}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwarding:
    """Which proxies are believed, and what. From all others the headers are ignored.

    Attributes:
        networks: Of the addresses of proxies.
        trusts_unix: Whether all clients of a Unix socket are.
        actor_header: The header in which they name the user whom they have let in; empty for none.
    """

    networks: Collection[Network] = ()
    trusts_unix: bool = False
    actor_header: str = ""

    @classmethod
    def of(cls, proxies: Collection[str], actor_header: str) -> "Forwarding":
        """Return what two settings say.

        Raises:
            ValueError: A text is no address, no network and not `unix`.
        """
        networks = tuple(ipaddress.ip_network(each) for each in proxies if each != UNIX)
        return cls(networks=networks, trusts_unix=UNIX in proxies, actor_header=actor_header)

    @property
    def is_on(self) -> bool:
        """Whether any proxy is believed."""
        return bool(self.networks) or self.trusts_unix

    def client(self, peer: str, forwarded_for: str | None) -> str:
        """Return where a request comes from.

        That is the last address in `X-Forwarded-For` that is no trusted proxy's, since each proxy adds the one from
        which it got the request, and a client can begin the list with anything.

        Args:
            peer: Address of the client that has connected; empty for a Unix socket.
            forwarded_for: The header; several are one, with commas.
        """
        if forwarded_for is None or not self._trusts(peer):
            return peer
        for entry in reversed(forwarded_for.split(",")):
            address = _address(entry.strip())
            if address is None:
                return peer
            peer = str(address)
            if not self._trusts(peer):
                return peer
        return peer

    def user(self, peer: str, header: Callable[[str], str | None]) -> str:
        """Return the user whom a proxy names; empty when it names none that fits in a line, or is not trusted.

        Args:
            peer: As for `client`.
            header: Returns the value of a header, whose bytes WSGI has as Latin-1.
        """
        sent = header(self.actor_header) if self.actor_header and self._trusts(peer) else None
        name = "" if sent is None else sent.encode("latin-1").decode("utf-8", "replace").strip()
        return name if _USER.fullmatch(name) else ""

    def as_browsers_send(self, peer: str, header: Callable[[str], str | None]) -> Callable[[str], str | None]:
        """Return what gives the headers of a request without a token that the proxy may have added.

        It may do so for all whom it has let in, and so for what pages of others have their browsers send.
        """
        if not self._trusts(peer):
            return header
        return lambda name: None if name == "Authorization" else header(name)

    def _trusts(self, peer: str) -> bool:
        if not self.is_on:
            return False
        if not peer:
            return self.trusts_unix
        address = _address(peer)
        return address is not None and any(address in network for network in self.networks)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return an address, without the port that some proxies add."""
    text = text.removeprefix("[").partition("]")[0] if text.startswith("[") else text
    if text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
