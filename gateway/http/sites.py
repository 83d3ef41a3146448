"""Where a request arrives: which registry its host names, through which endpoint, and from where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.model.endpoints import Endpoint
    from gateway.model.networks import IpAddress
    from gateway.ports.directory import RegistrySettings


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
