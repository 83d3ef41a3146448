"""Addresses of clients and the networks that they come from."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_address(text: str) -> IpAddress:
    """Read an IP address; one of IPv4 that is dressed up as IPv6 becomes what it is. Raises ValueError."""
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


@dataclass(frozen=True, slots=True)
class Networks:
    """A list of networks in CIDR notation."""

    members: tuple[IpNetwork, ...] = ()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Self:
        """Read networks such as 10.0.0.0/8 or single addresses; raises ValueError naming the wrong one."""
        return cls(tuple(_network(text) for text in texts))

    def __contains__(self, address: IpAddress) -> bool:
        return any(address in network for network in self.members)

    def __bool__(self) -> bool:
        return bool(self.members)

    def texts(self) -> list[str]:
        """Write them down again."""
        return [str(network) for network in self.members]


ANYWHERE = Networks()
"""No list: every client is welcome."""


def _network(text: str) -> IpNetwork:
    try:
        return ipaddress.ip_network(text.strip())
    except ValueError as error:
        raise ValueError(f"{text!r} is no network: write it like 10.0.0.0/8, or a single address ({error})") from error
