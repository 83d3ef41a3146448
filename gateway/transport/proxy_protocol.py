"""The PROXY protocol, versions 1 and 2: what a load balancer says of a connection before its first byte.

See https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt. Parsed strictly: what is not exactly a header ends the
connection, since whoever speaks it has been trusted to.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass

from gateway.errors import SlipwayError

_FIRST_OF_V1 = b"PROXY "
_LONGEST_V1 = 107
_PARTS_OF_V1 = 6
_LARGEST_PORT = 65535
_FIRST_OF_V2 = b"\r\n\r\n\x00\r\nQUIT\n"
_HEAD_V2 = struct.Struct("!12sBBH")
_LONGEST_V2 = 4096
LONGEST_PREAMBLE = _HEAD_V2.size + _LONGEST_V2
"""Bytes that a header may have."""
_LOCAL, _PROXY = 0x20, 0x21
_FAMILIES = {0x11: (4, "!4s4sHH"), 0x21: (6, "!16s16sHH")}
_TLS = 0x20
_TLV = struct.Struct("!BH")


class PreambleWrong(SlipwayError):
    """The connection does not begin with a PROXY header."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a connection, as the client and its load balancer see it."""

    address: str
    """The client's IP address."""
    port: int | None = None
    """The port that the client has connected to, where a load balancer tells it."""
    scheme: str | None = None
    """``https`` where a load balancer says that the client speaks TLS with it; None where nothing is known."""


def parse_preamble(data: bytes, connected: str) -> tuple[Peer, int] | None:
    """Read the header at the beginning of a connection; return who it is and the header's length in bytes.

    None means that more bytes are needed. ``connected`` is the load balancer's own address, which stands for the client
    where the header names none (its own health checks). Raises PreambleWrong.
    """
    if data[: len(_FIRST_OF_V2)] == _FIRST_OF_V2[: len(data)]:
        return _parse_v2(data, connected)
    if data[: len(_FIRST_OF_V1)] == _FIRST_OF_V1[: len(data)]:
        return _parse_v1(data, connected)
    raise PreambleWrong("the connection does not begin with a PROXY header")


def _parse_v1(data: bytes, connected: str) -> tuple[Peer, int] | None:
    end = data.find(b"\r\n", 0, _LONGEST_V1)
    if end < 0:
        if len(data) >= _LONGEST_V1:
            raise PreambleWrong("the PROXY header has no end")
        return None
    try:
        parts = data[:end].decode("ascii").split(" ")
        if parts[1] == "UNKNOWN":
            return Peer(connected), end + 2
        version = {"TCP4": 4, "TCP6": 6}[parts[1]]
        if len(parts) != _PARTS_OF_V1:
            raise PreambleWrong("the PROXY header has not six words")
        address, _ = _address(parts[2], version), _address(parts[3], version)
        return Peer(address, _port(parts[5]) if _port(parts[4]) is not None else None), end + 2
    except (ValueError, KeyError, IndexError) as error:
        raise PreambleWrong(f"the PROXY header cannot be read: {error}") from error


def _address(text: str, version: int) -> str:
    address = ipaddress.ip_address(text)
    if address.version != version:
        raise ValueError(f"{text} is of another family")
    return str(address)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > _LARGEST_PORT:
        raise ValueError(f"{text!r} is no port")
    return int(text)


def _parse_v2(data: bytes, connected: str) -> tuple[Peer, int] | None:
    if len(data) < _HEAD_V2.size:
        return None
    _, command, family, length = _HEAD_V2.unpack_from(data)
    if command not in {_LOCAL, _PROXY} or length > _LONGEST_V2:
        raise PreambleWrong("the PROXY header is of an unknown version, or too long")
    end = _HEAD_V2.size + length
    if len(data) < end:
        return None
    if command == _LOCAL or family not in _FAMILIES:
        return Peer(connected), end
    version, form = _FAMILIES[family]
    if length < struct.calcsize(form):
        raise PreambleWrong("the PROXY header is too short for its addresses")
    source, _, _, port = struct.unpack_from(form, data, _HEAD_V2.size)
    address = ipaddress.IPv4Address(source) if version == 4 else ipaddress.IPv6Address(source)  # noqa: PLR2004
    extensions = data[_HEAD_V2.size + struct.calcsize(form) : end]
    return Peer(str(address), port, "https" if _speaks_tls(extensions) else None), end


def _speaks_tls(extensions: bytes) -> bool:
    """Look for the extension PP2_TYPE_SSL, whose first bit says that the client has connected by TLS."""
    while extensions:
        if len(extensions) < _TLV.size:
            raise PreambleWrong("the PROXY header ends in the middle of an extension")
        kind, length = _TLV.unpack_from(extensions)
        value = extensions[_TLV.size : _TLV.size + length]
        if len(value) < length:
            raise PreambleWrong("the PROXY header ends in the middle of an extension")
        if kind == _TLS:
            return bool(value[:1] and value[0] & 1)
        extensions = extensions[_TLV.size + length :]
    return False
