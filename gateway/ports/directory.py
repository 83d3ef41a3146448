"""The directory port: which registries there are, and how each is set.

As with the metadata port, every method is one transaction, and raises DatabaseUnavailable when the database cannot be
reached. A change is committed together with its line in the audit log and a notification on ``ports.access.CHANGES``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from gateway.model.networks import ANYWHERE

if TYPE_CHECKING:
    from gateway.model.endpoints import Delivery, DeliveryRule
    from gateway.model.networks import Networks
    from gateway.ports.metadata import Registry


@dataclass(frozen=True, slots=True)
class RegistrySettings:
    """A living registry with everything that can be set."""

    registry: Registry
    name: str
    private_label: str
    """The first label of the private endpoint's host."""
    is_default: bool = False
    """Whether it serves hosts that name no registry."""
    public_endpoint: bool = True
    public_pull: bool = False
    public_networks: Networks = ANYWHERE
    """Clients that the public endpoint accepts; none means everybody."""
    private_networks: Networks = ANYWHERE
    public_delivery: Delivery | None = None
    """None is what the configuration says."""
    private_delivery: Delivery | None = None
    delivery_rules: tuple[DeliveryRule, ...] = ()
    version: int = 1
    """Counts changes."""


class RegistryLookup(Protocol):
    """What every request asks."""

    async def fetch_by_name(self, name: str) -> RegistrySettings | None:
        """Return the living registry of a name."""
        ...

    async def fetch_by_private_label(self, label: str) -> RegistrySettings | None:
        """Return the living registry whose private endpoint has this label."""
        ...

    async def fetch_default(self) -> RegistrySettings | None:
        """Return the registry for hosts that name none."""
        ...
