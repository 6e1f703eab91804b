"""Which addresses are public."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedream_async._addresses import is_public

CLOSED_IPV4 = [
    pytest.param("0.0.0.0", id="unspecified"),  # noqa: S104
    pytest.param("0.1.2.3", id="this network"),
    pytest.param("10.0.0.0", id="private, lowest"),
    pytest.param("10.255.255.255", id="private, highest"),
    pytest.param("100.64.0.0", id="carrier-grade NAT, lowest"),
    pytest.param("100.100.100.200", id="metadata of Alibaba"),
    pytest.param("100.127.255.255", id="carrier-grade NAT, highest"),
    pytest.param("127.0.0.1", id="loopback"),
    pytest.param("127.255.255.254", id="loopback, high"),
    pytest.param("168.63.129.16", id="host of Azure"),
    pytest.param("169.254.0.1", id="link-local"),
    pytest.param("169.254.169.254", id="metadata"),
    pytest.param("169.254.170.2", id="metadata of ECS"),
    pytest.param("172.16.0.0", id="private 172, lowest"),
    pytest.param("172.31.255.255", id="private 172, highest"),
    pytest.param("192.0.0.1", id="protocols"),
    pytest.param("192.0.0.8", id="dummy"),
    pytest.param("192.0.0.9", id="port control"),
    pytest.param("192.0.0.170", id="NAT64 discovery"),
    pytest.param("192.0.0.192", id="metadata of Oracle"),
    pytest.param("192.0.2.1", id="documentation 1"),
    pytest.param("192.88.99.1", id="6to4 relay"),
    pytest.param("192.168.0.1", id="private 192"),
    pytest.param("198.18.0.1", id="benchmarks"),
    pytest.param("198.19.255.255", id="benchmarks, highest"),
    pytest.param("198.51.100.1", id="documentation 2"),
    pytest.param("203.0.113.1", id="documentation 3"),
    pytest.param("224.0.0.1", id="multicast"),
    pytest.param("239.255.255.250", id="multicast, high"),
    pytest.param("240.0.0.1", id="reserved"),
    pytest.param("255.255.255.255", id="broadcast"),
]
OPEN_IPV4 = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "168.63.129.15",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.0.3.0",
    "192.31.196.1",
    "192.52.193.1",
    "192.167.255.255",
    "192.169.0.0",
    "192.175.48.1",
    "198.17.255.255",
    "198.20.0.0",
    "203.0.112.255",
    "223.255.255.255",
]
CLOSED_IPV6 = [
    pytest.param("::", id="unspecified"),
    pytest.param("::1", id="loopback"),
    pytest.param("::1%lo", id="loopback with a scope"),
    pytest.param("::2", id="reserved"),
    pytest.param("64:ff9b:1::1", id="local NAT64"),
    pytest.param("100::1", id="discard"),
    pytest.param("100:0:0:1::1", id="dummy"),
    pytest.param("2001:2::1", id="benchmarks"),
    pytest.param("2001:10::1", id="ORCHID"),
    pytest.param("2001:20::1", id="ORCHID 2"),
    pytest.param("2001:1ff:ffff::1", id="protocols, highest"),
    pytest.param("2001:db8::1", id="documentation"),
    pytest.param("3fff::1", id="documentation 2"),
    pytest.param("3fff:fff:ffff::1", id="documentation 2, highest"),
    pytest.param("4000::1", id="not opened yet"),
    pytest.param("5f00::1", id="segment routing"),
    pytest.param("fc00::1", id="unique local"),
    pytest.param("fd00:ec2::254", id="metadata"),
    pytest.param("fd20:ce::254", id="metadata of Google"),
    pytest.param("fe80::1", id="link-local"),
    pytest.param("fe80::1%eth0", id="link-local with a scope"),
    pytest.param("fe80::1%2", id="link-local with a number"),
    pytest.param("fe80::a9fe:a9fe%eth0", id="metadata, link-local"),
    pytest.param("fec0::1", id="site-local"),
    pytest.param("ff02::1", id="multicast"),
    pytest.param("ff0e::1", id="multicast, global"),
]
OPEN_IPV6 = [
    "2000::1",
    "2001:200::1",
    "2001:4860:4860::8888",
    "2001:db7:ffff::1",
    "2001:db9::1",
    "2400:3200::1",
    "2606:4700::1%eth0",
    "2620:4f:8000::1",
    "3ffe:ffff::1",
    "3fff:1000::1",
]
# How an IPv4 address hides in an IPv6 one.
COVERS = {
    "mapped": lambda ip: int(IPv6Address("::ffff:0:0")) | int(ip),
    "NAT64": lambda ip: int(IPv6Address("64:ff9b::")) | int(ip),
    "6to4": lambda ip: 0x2002 << 112 | int(ip) << 80 | 1,
    "Teredo client": lambda ip: 0x20010000 << 96 | 0x08080808 << 64 | (int(ip) ^ 0xFFFFFFFF),
    "Teredo server": lambda ip: 0x20010000 << 96 | int(ip) << 64 | (0x08080808 ^ 0xFFFFFFFF),
}


@pytest.mark.parametrize("address", CLOSED_IPV4)
def test_closed_ipv4(address):
    """What belongs to a machine, a network or nobody is not public."""
    assert is_public(address) is False


@pytest.mark.parametrize("address", CLOSED_IPV6)
def test_closed_ipv6(address):
    """Of the new addresses, only those that were given away are public."""
    assert is_public(address) is False


@pytest.mark.parametrize("address", [*OPEN_IPV4, *OPEN_IPV6])
def test_open(address):
    """What lies beside the closed networks is public."""
    assert is_public(address) is True


@pytest.mark.parametrize("cover", COVERS.values(), ids=COVERS)
@pytest.mark.parametrize("address", [*CLOSED_IPV4, "1.1.1.1", "8.8.8.8"])
def test_a_cover_hides_nothing(address, cover):
    """A wrapped address is as public as what it wraps."""
    wrapped = str(IPv6Address(cover(IPv4Address(address))))

    assert is_public(wrapped) is is_public(address)
    assert is_public(f"{wrapped}%eth0") is is_public(address)


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "8.8.8.8"])
def test_compatible_addresses_are_closed(address):
    """An IPv4-compatible address, long abandoned, is public in no case."""
    assert is_public(f"::{address}") is False


@pytest.mark.parametrize(
    "address",
    [
        "",
        " ",
        "localhost",
        "example.com",
        "8.8.8.8 ",
        " 8.8.8.8",
        "8.8.8.8\n",
        "8.8.8",
        "8.8.8.8.8",
        "8.8.8.256",
        "08.8.8.8",
        "0x8.8.8.8",
        "134744072",
        "８.8.8.8",
        "8.8.8.8:80",
        "8.8.8.8/32",
        "8.8.8.8%eth0",
        "[2606:4700::1]",
        "2606:4700::1%",
        "2606:4700::1/64",
        "2606:4700:::1",
        "2606:4700::g",
        "::ffff:8.8.8",
    ],
)
def test_what_is_no_address_is_not_public(address):
    """Only an address can be public."""
    assert is_public(address) is False


@given(st.one_of(st.text(), st.ip_addresses().map(str)))
def test_any_text_has_an_answer(address):
    """The answer is yes or no, and never yes for what Python knows to be closed."""
    answer = is_public(address)

    assert isinstance(answer, bool)
    if answer:
        ip = ip_address(address)
        wrapped = getattr(ip, "ipv4_mapped", None) or getattr(ip, "sixtofour", None) or ip
        assert not wrapped.is_loopback
        assert not wrapped.is_link_local
        assert not wrapped.is_multicast
        assert not wrapped.is_unspecified
