"""The directory port: which registries there are, and how each is set.

As with the metadata port, every method is one transaction, and raises DatabaseUnavailable when the database cannot be
reached. A change is committed together with its line in the audit log and a notification on ``ports.access.CHANGES``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypedDict

from gateway.model.endpoints import DeliveryPolicy, Endpoint
from gateway.model.networks import ANYWHERE

if TYPE_CHECKING:
    from gateway.model.access import Actor
    from gateway.model.endpoints import Delivery, DeliveryRule
    from gateway.model.networks import IpAddress, Networks
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
    storage: str = ""
    """Which storage the bucket is in, as ports.buckets names it."""

    def accepts(self, endpoint: Endpoint, client: IpAddress) -> bool:
        """Whether an endpoint answers a client at all."""
        if endpoint is Endpoint.PUBLIC:
            return self.public_endpoint and (not self.public_networks or client in self.public_networks)
        return not self.private_networks or client in self.private_networks

    def delivery(self, usual: Delivery) -> DeliveryPolicy:
        """How blobs are delivered, where the configuration says ``usual``."""
        return DeliveryPolicy(self.public_delivery or usual, self.private_delivery or usual, self.delivery_rules)


class RegistryChange(TypedDict, total=False):
    """New settings of a registry; what is left out stays as it is."""

    public_endpoint: bool
    public_pull: bool
    public_networks: Networks
    private_networks: Networks
    public_delivery: Delivery | None
    private_delivery: Delivery | None
    delivery_rules: tuple[DeliveryRule, ...]


@dataclass(frozen=True, slots=True)
class NewRegistry:
    """A registry that is to be made."""

    public_id: str
    generation: int
    name: str
    storage: str
    bucket: str
    delivery: Delivery | None = None
    """For both endpoints; None is what the configuration says."""


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


class RegistryIndex(RegistryLookup, Protocol):
    """What manages registries."""

    async def list_registries(self) -> list[RegistrySettings]:
        """Return all living registries, by name."""
        ...

    async def insert_registry(self, actor: Actor, new: NewRegistry) -> RegistrySettings:
        """Make a registry; raises AlreadyTaken for its name or its bucket."""
        ...

    async def revive_registry(self, actor: Actor, former: Registry, new: NewRegistry) -> RegistrySettings:
        """Bring back a deleted registry with its settings and all that is known of its images, in a new generation.

        Raises AlreadyTaken for its name or its bucket, or when somebody else has brought it back.
        """
        ...

    async def begin_adoption(self, new: NewRegistry) -> Registry:
        """Make a registry that is not there for anybody yet; raises AlreadyTaken while one of its public id is."""
        ...

    async def finish_adoption(
        self, actor: Actor, registry: Registry, name: str, settings: RegistryChange
    ) -> RegistrySettings:
        """Let a registry be there, with these settings; raises AlreadyTaken for its name or its bucket."""
        ...

    async def update_registry(
        self, actor: Actor, name: str, change: RegistryChange, expected_version: int | None
    ) -> RegistrySettings:
        """Change settings; raises NothingKnown, or ChangedMeanwhile if there is another version than expected."""
        ...

    async def delete_registry(self, actor: Actor, name: str) -> RegistrySettings:
        """Delete a registry and end its uploads and policies; return what it was; raises NothingKnown."""
        ...
