"""Where clients come in: one listener for all hosts, or one for public and one for private endpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.http.sites import Hosts
from gateway.model.endpoints import Endpoint
from gateway.model.networks import parse_address
from gateway.transport.admission import Admission
from gateway.transport.certificate import Certificate
from gateway.transport.server import Terms

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.config import Address, Settings
    from gateway.model.networks import Networks


@dataclass(frozen=True, slots=True)
class Entrance:
    """A listener, and what holds for whoever comes in there."""

    listen: Address
    endpoints: frozenset[Endpoint]
    """Whose hosts answer there. Console, management API and default registry are where public ones are."""
    trusted_proxies: Networks
    proxy_protocol: Networks
    files: tuple[Path, Path] | None
    """The certificate and its key, where clients speak TLS."""

    def certificate(self) -> Certificate | None:
        """Read the certificate; raises ConfigurationError."""
        return Certificate(*self.files) if self.files else None

    @property
    def scheme(self) -> str:
        """What connections speak."""
        return "https" if self.files else "http"


def entrances_of(settings: Settings) -> list[Entrance]:
    """List the entrances; the first one is the address of the service."""
    both = frozenset(Endpoint)
    private = settings.private_listen
    entrances = [
        Entrance(
            settings.listen,
            frozenset({Endpoint.PUBLIC}) if private else both,
            settings.trusted_proxies,
            settings.proxy_protocol,
            _pair(settings.tls_certificate, settings.tls_key),
        )
    ]
    if private is not None:
        entrances.append(
            Entrance(
                private,
                frozenset({Endpoint.PRIVATE}),
                settings.private_trusted_proxies,
                settings.private_proxy_protocol,
                _pair(settings.private_tls_certificate, settings.private_tls_key),
            )
        )
    return entrances


def hosts_of(settings: Settings, entrance: Entrance) -> Hosts:
    """Say which hosts are answered."""
    return Hosts(
        public_domain=settings.public_domain,
        private_domain=settings.private_domain,
        endpoints=entrance.endpoints,
        console=settings.console_host,
        names=frozenset(settings.host_names),
        trusted_proxies=entrance.trusted_proxies,
        public_scheme=settings.public_scheme,
        private_scheme=settings.private_scheme,
    )


def terms_of(settings: Settings, entrance: Entrance) -> Terms:
    """Say what is asked of clients' connections."""

    def is_among(networks: Networks) -> Callable[[str], bool]:
        return lambda address: bool(address) and parse_address(address) in networks

    return Terms(
        Admission(
            speaks_for_others=is_among(entrance.proxy_protocol),
            is_unlimited=is_among(entrance.trusted_proxies),
            most_of_one=settings.connections_per_address,
        ),
        header_bytes=settings.header_bytes,
        request_seconds=settings.request_seconds,
    )


def _pair(certificate: Path | None, key: Path | None) -> tuple[Path, Path] | None:
    return (certificate, key) if certificate is not None and key is not None else None
