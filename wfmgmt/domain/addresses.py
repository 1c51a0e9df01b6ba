"""Addresses of hosts."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches what listens on a host: a name, or an IP address without brackets."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
