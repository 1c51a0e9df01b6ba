"""Which IP addresses belong to the public internet."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

# The tables are ours because `is_global` and `is_private` of the standard library change between patch releases
# and take IPv6 addresses that lead to an IPv4 host for what they look like.
_SPECIAL_V4 = tuple(
    IPv4Network(block)
    for block in (
        "0.0.0.0/8",  # this network, unspecified
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local, metadata services of clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # relays from IPv6, withdrawn
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)

_GLOBAL_UNICAST_V6 = IPv6Network("2000::/3")
_SPECIAL_V6 = tuple(
    IPv6Network(block)
    for block in (
        "2001::/23",  # protocol assignments; Teredo tunnels, whose end is not ours to know, are among them
        "2001:db8::/32",  # documentation
        "3fff::/20",  # documentation
    )
)

# Each block holds an IPv4 address, which starts at that bit from the left. 64:ff9b:1::/48 is not here: where it holds
# the address is up to the local network, so it stays refused as a whole, as everything outside 2000::/3 is.
_EMBEDDED_V4 = (
    (IPv6Network("::/96"), 96),  # IPv4-compatible; also :: and ::1, which become addresses of 0.0.0.0/8
    (IPv6Network("::ffff:0:0/96"), 96),  # IPv4-mapped
    (IPv6Network("::ffff:0:0:0/96"), 96),  # IPv4-translated (SIIT)
    (IPv6Network("64:ff9b::/96"), 96),  # NAT64
    (IPv6Network("2002::/16"), 16),  # 6to4
)


def is_public(address: str) -> bool:
    """Return whether an IP address is a global unicast one, reachable over the public internet.

    IPv6 addresses that hold an IPv4 address are judged by that address.

    Args:
        address: In canonical notation, without brackets; a scope id (`%eth0`) may follow. Any other text, such as the
            short or octal forms of IPv4, is not public.

    Source:
        IANA special-purpose address registries for IPv4 and IPv6 (RFC 6890), RFC 6052, RFC 3056.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv4Address):
        return _is_public_v4(parsed)
    if parsed.scope_id is not None:
        return False
    for block, start in _EMBEDDED_V4:
        if parsed in block:
            return _is_public_v4(_embedded_v4(parsed, start))
    return parsed in _GLOBAL_UNICAST_V6 and not any(parsed in block for block in _SPECIAL_V6)


def _is_public_v4(address: IPv4Address) -> bool:
    return not any(address in block for block in _SPECIAL_V4)


def _embedded_v4(address: IPv6Address, start: int) -> IPv4Address:
    return IPv4Address(int(address) >> (128 - 32 - start) & 0xFFFF_FFFF)
