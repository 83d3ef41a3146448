"""Where a request arrives: which registry its host names, through which endpoint, and from where."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from gateway.errors import HostUnknown
from gateway.model.endpoints import Endpoint
from gateway.model.networks import parse_address

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp.web import BaseRequest

    from gateway.model.networks import IpAddress
    from gateway.ports.directory import RegistrySettings

_PORT = re.compile(r":[0-9]*\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Site:
    """Where a request arrives."""

    settings: RegistrySettings | None
    """None where only the console answers."""
    endpoint: Endpoint
    has_console: bool
    """Whether console and management API answer at this host."""
    client: IpAddress
    """The real client's address."""
    origin: str
    """Scheme, host and port as the client sees them, for instance https://team.example.com:8443."""


class Sites(Protocol):
    """Finds out where requests arrive."""

    async def find(self, request: BaseRequest) -> Site:
        """Return the site of a request; raise HostUnknown when it belongs to nobody."""
        ...


class DefaultSites:
    """One registry, which answers at localhost and IP addresses."""

    def __init__(self, settings: Callable[[], Awaitable[RegistrySettings]], scheme: str) -> None:
        self._settings = settings
        self._scheme = scheme

    async def find(self, request: BaseRequest) -> Site:
        """Return the registry's site, or refuse foreign names, under which a web page could talk to a registry."""
        host = request.headers.get("Host", "")
        _check_host(host)
        return Site(
            settings=await self._settings(),
            endpoint=Endpoint.PUBLIC,
            has_console=True,
            client=_address(request.remote or "127.0.0.1"),
            origin=f"{self._scheme}://{host or 'localhost'}",
        )


_address = lru_cache(maxsize=4096)(parse_address)


@lru_cache(maxsize=64)
def _check_host(host: str) -> None:
    name = _PORT.sub("", host).removeprefix("[").removesuffix("]").lower()
    if name in {"localhost", ""}:
        return
    try:
        ipaddress.ip_address(name)
    except ValueError:
        raise HostUnknown(f"no registry has the host {name}; use localhost or an IP address") from None
