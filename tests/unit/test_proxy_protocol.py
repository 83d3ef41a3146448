"""PROXY headers, versions 1 and 2 (haproxy's proxy-protocol.txt)."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.transport.proxy_protocol import Peer, PreambleWrong, parse_preamble

BALANCER = "10.0.0.9"
MAGIC = b"\r\n\r\n\x00\r\nQUIT\n"


def v2(addresses: bytes, *, command: int = 0x21, family: int = 0x11) -> bytes:
    return MAGIC + struct.pack("!BBH", command, family, len(addresses)) + addresses


def tcp4(source: str, port: int) -> bytes:
    target = ipaddress.ip_address("192.0.2.1").packed
    return ipaddress.ip_address(source).packed + target + struct.pack("!HH", 40000, port)


def extension(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


TLS = extension(0x20, b"\x01" + bytes(4) + extension(0x21, b"TLSv1.3"))
NO_TLS = extension(0x20, bytes(5))
NOTHING = extension(0x04, b"")
CASES = [
    (b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n", Peer("203.0.113.7", 443)),
    (b"PROXY TCP6 2001:db8::7 2001:db8::1 56324 5000\r\n", Peer("2001:db8::7", 5000)),
    (b"PROXY UNKNOWN\r\n", Peer(BALANCER)),
    (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", Peer(BALANCER)),
    (v2(tcp4("203.0.113.7", 443)), Peer("203.0.113.7", 443)),
    (v2(tcp4("203.0.113.7", 443) + TLS), Peer("203.0.113.7", 443, "https")),
    (v2(tcp4("203.0.113.7", 443) + NOTHING + TLS), Peer("203.0.113.7", 443, "https")),
    (v2(tcp4("203.0.113.7", 80) + NO_TLS), Peer("203.0.113.7", 80)),
    (
        v2(ipaddress.ip_address("2001:db8::7").packed + bytes(16) + struct.pack("!HH", 1, 5000), family=0x21),
        Peer("2001:db8::7", 5000),
    ),
    (v2(b"", command=0x20, family=0), Peer(BALANCER)),
    (v2(bytes(216), family=0x31), Peer(BALANCER)),
    (v2(b"", family=0), Peer(BALANCER)),
]
WRONG = [
    b"GET / HTTP/1.1\r\n",
    b"PROXY TCP4 203.0.113.7 192.0.2.1 56324\r\n",
    b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 443 \r\n",
    b"PROXY TCP4 2001:db8::7 192.0.2.1 56324 443\r\n",
    b"PROXY TCP4 203.0.113.007 192.0.2.1 56324 443\r\n",
    b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 65536\r\n",
    b"PROXY TCP4 203.0.113.7 192.0.2.1 -1 443\r\n",
    b"PROXY UDP4 203.0.113.7 192.0.2.1 56324 443\r\n",
    b"PROXY \r\n",
    b"PROXY TCP4 \xff\xfe 192.0.2.1 1 2\r\n",
    b"PROXY " + b"x" * 200,
    v2(tcp4("203.0.113.7", 443), command=0x11),
    v2(tcp4("203.0.113.7", 443), command=0x22),
    v2(bytes(5)),
    v2(tcp4("203.0.113.7", 443) + b"\x20\x00"),
    v2(tcp4("203.0.113.7", 443) + b"\x20\x00\x09\x01"),
    v2(bytes(5000)),
]


@pytest.mark.parametrize(("header", "peer"), CASES)
def test_who_it_is(header: bytes, peer: Peer) -> None:
    """Address, port and scheme as the load balancer says; what follows is not touched."""
    assert parse_preamble(header + b"GET /", BALANCER) == (peer, len(header))


@pytest.mark.parametrize("header", [header for header, _ in CASES])
def test_more_is_waited_for(header: bytes) -> None:
    """A header may arrive byte by byte."""
    for end in range(len(header)):
        assert parse_preamble(header[:end], BALANCER) is None


@pytest.mark.parametrize("header", WRONG)
def test_anything_else_is_refused(header: bytes) -> None:
    """Strictly: who speaks for others must not be misunderstood."""
    with pytest.raises(PreambleWrong):
        parse_preamble(header, BALANCER)


@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda rest: MAGIC + rest))
def test_nothing_breaks_it(data: bytes) -> None:
    """Whatever bytes come: a peer with an address, a wait, or a refusal."""
    try:
        found = parse_preamble(data, BALANCER)
    except PreambleWrong:
        return
    if found is not None:
        ipaddress.ip_address(found[0].address)
        assert found[1] <= len(data)
