"""
Which addresses belong to the public internet: a pure function of an address.

A link that someone else made must not lead into the network that this program runs in.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

# Not ipaddress.is_global: its answers changed in patch releases of Python. From the registries
# iana-ipv4-special-registry and iana-ipv6-special-registry, and what clouds keep for themselves.
_CLOSED_IPV4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # carrier-grade NAT; metadata of Alibaba Cloud
            "127.0.0.0/8",  # loopback
            "168.63.129.16/32",  # the host under a machine of Azure
            "169.254.0.0/16",  # link-local; metadata of most clouds
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments; metadata of Oracle Cloud
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # relays of 6to4
            "192.168.0.0/16",  # private
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, broadcast
        ),
    )
)
_UNICAST = IPv6Network("2000::/3")  # all that IANA has opened so far
_CLOSED_IPV6 = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocol assignments: benchmarks, ORCHID
            "2001:db8::/32",  # documentation
            "3fff::/20",  # documentation
        ),
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Tell whether *address*, as `getaddrinfo` gives it, is one that anybody can reach."""
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, IPv4Address):
        return _is_public_ipv4(ip)
    if carried := _carried(ip):
        return all(map(_is_public_ipv4, carried))
    return ip in _UNICAST and not any(ip in network for network in _CLOSED_IPV6)


def _is_public_ipv4(ip: IPv4Address) -> bool:
    return not any(ip in network for network in _CLOSED_IPV4)


def _carried(ip: IPv6Address) -> tuple[IPv4Address, ...]:
    """The IPv4 addresses that packets for *ip* go to, where it only wraps them."""
    if ip.teredo:
        return ip.teredo
    if mapped := ip.ipv4_mapped or ip.sixtofour:
        return (mapped,)
    return (IPv4Address(int(ip) & 0xFFFFFFFF),) if ip in _NAT64 else ()
