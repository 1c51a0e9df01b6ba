"""Which addresses count as public."""

import pytest

from wfmgmt.archives.addresses import is_public

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "100.63.255.255",
    "100.128.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "223.255.255.255",
    "2606:4700::1111",
    "2a00:1450:4001::200e",
    "::ffff:8.8.8.8",
    "::8.8.8.8",
    "::ffff:0:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2002:808:808::1",
]

NOT_PUBLIC = {
    "loopback": "127.0.0.1",
    "end of loopback": "127.255.255.254",
    "unspecified": "0.0.0.0",  # noqa: S104 (nothing is bound)
    "this network": "0.1.2.3",
    "private 10": "10.0.0.1",
    "private 172.16": "172.16.0.1",
    "end of private 172.16": "172.31.255.255",
    "private 192.168": "192.168.1.1",
    "carrier-grade NAT": "100.64.0.1",
    "end of carrier-grade NAT": "100.127.255.255",
    "link-local": "169.254.169.254",
    "protocol assignments": "192.0.0.8",
    "documentation 192": "192.0.2.1",
    "documentation 198": "198.51.100.1",
    "documentation 203": "203.0.113.1",
    "benchmarks": "198.19.0.1",
    "6to4 relay": "192.88.99.1",
    "multicast": "224.0.0.1",
    "end of multicast": "239.255.255.255",
    "reserved": "240.0.0.1",
    "broadcast": "255.255.255.255",
    "IPv6 unspecified": "::",
    "IPv6 loopback": "::1",
    "IPv6 loopback in full": "0:0:0:0:0:0:0:1",
    "IPv6 loopback with a scope": "::1%1",
    "IPv6 link-local": "fe80::1",
    "IPv6 link-local with a scope": "fe80::1%eth0",
    "IPv6 global with a scope": "2606:4700::1111%eth0",
    "IPv6 site-local": "fec0::1",
    "IPv6 unique-local": "fd00::1",
    "IPv6 multicast": "ff02::1",
    "IPv6 documentation": "2001:db8::1",
    "IPv6 new documentation": "3fff::1",
    "IPv6 discard": "100::1",
    "IPv6 benchmarks": "2001:2::1",
    "IPv6 segment routing": "5f00::1",
    "IPv6 reserved": "4000::1",
    "mapped loopback": "::ffff:127.0.0.1",
    "mapped loopback in hex": "::ffff:7f00:1",
    "mapped private": "::ffff:10.0.0.1",
    "compatible loopback": "::127.0.0.1",
    "translated loopback": "::ffff:0:127.0.0.1",
    "NAT64 loopback": "64:ff9b::7f00:1",
    "NAT64 metadata service": "64:ff9b::169.254.169.254",
    "local NAT64": "64:ff9b:1::8.8.8.8",
    "6to4 loopback": "2002:7f00:1::1",
    "6to4 private": "2002:a00:1::",
    "Teredo of a public client": "2001:0:4136:e378:8000:63bf:f7f7:f7f7",
    "Teredo of loopback": "2001:0:4136:e378:8000:63bf:80ff:fffe",
    "short form": "127.1",
    "number": "134744072",
    "octal form": "010.8.8.8",
    "brackets": "[2606:4700::1111]",
    "name": "models.example",
    "empty": "",
}


@pytest.mark.parametrize("address", PUBLIC)
def test_is_public_accepts_global_unicast(address: str) -> None:
    """Global unicast addresses are public, also inside IPv6 addresses that lead to them."""
    assert is_public(address)


@pytest.mark.parametrize("address", NOT_PUBLIC.values(), ids=NOT_PUBLIC.keys())
def test_is_public_refuses_everything_else(address: str) -> None:
    """No special-purpose address is public in any wrapping, nor is a text that is no canonical address."""
    assert not is_public(address)
