"""What the operations work with: services, as protocols, and what these take and give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypedDict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.model.access import Actor
    from gateway.model.endpoints import Delivery, DeliveryRule
    from gateway.model.networks import Networks
    from gateway.ports.directory import RegistrySettings
    from gateway.services.accounts import Accounts
    from gateway.services.audit import Audit

# --- registries ----------------------------------------------------------------------------------


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
class Finding:
    """One thing that a check has found."""

    severity: str
    what: str
    reason: str
    mend: str


@dataclass(frozen=True, slots=True)
class BucketUse:
    """A bucket and the registry that has it."""

    bucket: str
    registry: str | None


class Registries(Protocol):
    """Registries. Who may do what is the caller's to settle."""

    async def create(self, actor: Actor, name: str, bucket: str, *, adopt: bool = False) -> RegistrySettings:
        """Make a registry; raises AlreadyTaken, ValueRefused."""
        ...

    async def list(self) -> Sequence[RegistrySettings]:
        """Return all living registries."""
        ...

    async def get(self, name: str) -> RegistrySettings:
        """Return a registry; raises NothingKnown."""
        ...

    async def update(
        self, actor: Actor, name: str, change: RegistryChange, expected_version: int | None
    ) -> RegistrySettings:
        """Change a registry; raises NothingKnown, ChangedMeanwhile, ValueRefused."""
        ...

    async def delete(self, actor: Actor, name: str) -> None:
        """Delete a registry, not its objects; raises NothingKnown."""
        ...

    async def check_bucket(self, bucket: str) -> Sequence[Finding]:
        """Return what is wrong with a bucket."""
        ...

    async def buckets(self) -> Sequence[BucketUse]:
        """Return the buckets that can be seen."""
        ...


# --- all together --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Domains:
    """Under which domains registries have their hosts."""

    public: str | None
    private: str | None


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that operations work with."""

    registries: Registries
    accounts: Accounts
    audit: Audit
    domains: Domains
