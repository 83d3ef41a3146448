"""Where a request arrives: which registry its host names, through which endpoint, and from where."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from gateway.errors import HostUnknown
from gateway.http.forwarding import address_of, believed
from gateway.model.endpoints import Endpoint, is_private_label, is_registry_name
from gateway.transport.connection import Connection
from gateway.transport.proxy_protocol import Peer

if TYPE_CHECKING:
    from aiohttp.web import BaseRequest

    from gateway.http.forwarding import Forwarded
    from gateway.model.networks import IpAddress, Networks
    from gateway.ports.directory import RegistrySettings
    from gateway.services.directory import Directory

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]*?)\.?(?::([0-9]{0,5}))?", re.ASCII)
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_NOBODY = "no registry is to be found at this host"
"""The same words whatever keeps a host from answering, so that nobody learns which registries there are."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where a request arrives."""

    endpoint: Endpoint
    label: str | None
    """What the host calls a registry; None is no registry in particular."""
    has_registry: bool
    has_console: bool
    """Whether console and management API answer at this host."""
    client: IpAddress
    """The real client's address."""
    origin: str
    """Scheme, host and port as the client sees them, for instance https://team.example.com:8443."""


class Sites(Protocol):
    """Finds out where requests arrive."""

    def find(self, request: BaseRequest) -> Site:
        """Return the site of a request; raise HostUnknown when it belongs to nobody."""
        ...

    async def registry(self, site: Site) -> RegistrySettings:
        """Return the registry that answers at a site; raise HostUnknown where none does."""
        ...

    def peer(self, request: BaseRequest) -> IpAddress:
        """Return who is at the other end of a request's connection: the client, or a proxy."""
        ...

    def trusts(self, peer: IpAddress) -> bool:
        """Tell whether it is a proxy whose headers are believed."""
        ...


@dataclass(frozen=True, slots=True)
class Hosts:
    """Which hosts there are."""

    public_domain: str | None
    private_domain: str | None
    endpoints: frozenset[Endpoint]
    """Of which kinds of endpoints hosts are answered; whatever is not private is public."""
    console: str | None
    """Where console and management API answer; without any domain they do at the other names as well."""
    names: frozenset[str]
    """Names that stand for no registry in particular, as localhost and IP addresses do."""
    trusted_proxies: Networks
    public_scheme: str | None
    """What clients use towards public endpoints; None is what the connection uses."""
    private_scheme: str | None


@dataclass(frozen=True, slots=True)
class _Named:
    """What a host's name stands for."""

    endpoint: Endpoint = Endpoint.PUBLIC
    label: str | None = None
    """Of a registry; None is no registry in particular."""
    has_registry: bool = True
    has_console: bool = False


class HostSites:
    """Registries by the first label of their hosts.

    Whatever keeps a host from answering a client (unknown, switched off, another network) is told in the same words.
    """

    def __init__(self, hosts: Hosts, directory: Directory) -> None:
        self._hosts = hosts
        self._directory = directory
        self._named = lru_cache(maxsize=4096)(self._name)

    def find(self, request: BaseRequest) -> Site:
        """Return the site of a request; raises HostUnknown, or ParameterInvalid for headers that contradict."""
        peer = _peer_of(request)
        forwarded = believed(request.headers, _address(peer), self._hosts.trusted_proxies)
        host, port = _host_of(request, forwarded)
        named = self._named(host)
        scheme = forwarded.scheme or peer.scheme or self._scheme(named.endpoint) or request.scheme
        port = port or (str(peer.port) if peer.port is not None else None)
        return Site(
            endpoint=named.endpoint,
            label=named.label,
            has_registry=named.has_registry,
            has_console=named.has_console,
            client=forwarded.client,
            origin=_origin(scheme, host, port),
        )

    async def registry(self, site: Site) -> RegistrySettings:
        """Return the registry that answers at a site; raises HostUnknown, or DatabaseUnavailable."""
        settings = await self._settings(site) if site.has_registry else None
        if settings is None or not settings.accepts(site.endpoint, site.client):
            raise HostUnknown(_NOBODY)
        return settings

    def peer(self, request: BaseRequest) -> IpAddress:
        """See the protocol."""
        return _address(_peer_of(request))

    def trusts(self, peer: IpAddress) -> bool:
        """See the protocol."""
        return peer in self._hosts.trusted_proxies

    async def _settings(self, site: Site) -> RegistrySettings | None:
        if site.label is None:
            return await self._directory.default()
        if site.endpoint is Endpoint.PUBLIC:
            return await self._directory.by_name(site.label)
        return await self._directory.by_private_label(site.label)

    def _scheme(self, endpoint: Endpoint) -> str | None:
        return self._hosts.public_scheme if endpoint is Endpoint.PUBLIC else self._hosts.private_scheme

    def _name(self, host: str) -> _Named:
        """Tell what a host stands for; raises HostUnknown when it does not stand for anything here."""
        named = self._meant(host)
        if named is None or named.endpoint not in self._hosts.endpoints:
            raise HostUnknown(_NOBODY)
        return named

    def _meant(self, host: str) -> _Named | None:
        hosts = self._hosts
        if host == hosts.console:
            return _Named(has_registry=False, has_console=True)
        label, _, domain = host.partition(".")
        if domain and domain == hosts.public_domain and is_registry_name(label):
            return _Named(label=label)
        if domain and domain == hosts.private_domain and is_private_label(label):
            return _Named(Endpoint.PRIVATE, label)
        if host in {"", "localhost"} or host in hosts.names or _is_address(host):
            return _Named(has_console=not (hosts.public_domain or hosts.private_domain))
        return None


def _peer_of(request: BaseRequest) -> Peer:
    """Return who is at the other end, as the PROXY protocol says where it is spoken."""
    connection = request.protocol
    return connection.peer if isinstance(connection, Connection) else Peer(request.remote or "")


def _address(peer: Peer) -> IpAddress:
    return address_of(peer.address or "::1")


def _host_of(request: BaseRequest, forwarded: Forwarded) -> tuple[str, str | None]:
    """Return the host's name in lower case and the port, as the client has asked for them."""
    # The parser has refused a request with two of them.
    own = request.headers.get("Host") or ""
    match = _HOST.fullmatch((forwarded.host or own).strip().lower())
    if match is None:
        raise HostUnknown(_NOBODY)
    return match[1], match[2] or forwarded.port


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def _origin(scheme: str, host: str, port: str | None) -> str:
    if port is None or port == _DEFAULT_PORTS[scheme]:
        return f"{scheme}://{host or 'localhost'}"
    return f"{scheme}://{host or 'localhost'}:{port}"
