"""What the operations work with: services, as protocols, and what these take and give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypedDict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from gateway.model.access import AccessKey, Action, Actor, Role
    from gateway.model.endpoints import Delivery, DeliveryRule
    from gateway.model.networks import Networks
    from gateway.ports.directory import RegistrySettings

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


# --- accounts, policies, keys --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AccountRecord:
    """An account."""

    name: str
    is_root: bool
    note: str
    version: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class PolicyRecord:
    """A role of an account, in one registry or (None) in all."""

    account: str
    role: Role
    registry: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """An access key, without its secret."""

    access_key_id: str
    account: str
    note: str
    actions: frozenset[Action] | None
    repositories: tuple[str, ...] | None
    disabled: bool
    expires_at: datetime | None
    last_used_at: datetime | None
    last_used_from: str | None
    created_at: datetime
    version: int


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """What a new key is to be."""

    note: str
    actions: frozenset[Action] | None
    repositories: tuple[str, ...] | None
    expires_at: datetime | None


class KeyChange(TypedDict, total=False):
    """What is to become of a key; what is left out stays as it is."""

    note: str
    disabled: bool
    expires_at: datetime | None
    actions: frozenset[Action] | None
    repositories: tuple[str, ...] | None


class Accounts(Protocol):
    """Accounts, policies and keys.

    ``key`` is the acting one, None where everything is allowed. Methods raise Forbidden for what it may not do, and
    NothingKnown for what does not exist or may not be seen.
    """

    async def create_account(self, actor: Actor, key: AccessKey | None, name: str, note: str) -> AccountRecord:
        """Make an account; raises AlreadyTaken."""
        ...

    async def list_accounts(self, key: AccessKey | None) -> Sequence[AccountRecord]:
        """Return the accounts that a key may see."""
        ...

    async def get_account(self, key: AccessKey | None, name: str) -> AccountRecord:
        """Return an account."""
        ...

    async def delete_account(self, actor: Actor, key: AccessKey | None, name: str) -> None:
        """Delete an account with its policies and keys."""
        ...

    async def grant(
        self, actor: Actor, key: AccessKey | None, account: str, role: Role, registry: str | None
    ) -> PolicyRecord:
        """Give a role; it may be there already."""
        ...

    async def revoke(self, actor: Actor, key: AccessKey | None, account: str, role: Role, registry: str | None) -> None:
        """Take a role away."""
        ...

    async def list_policies(
        self, key: AccessKey | None, account: str | None, registry: str | None
    ) -> Sequence[PolicyRecord]:
        """Return the policies that a key may see, of an account, for a registry."""
        ...

    async def create_key(
        self, actor: Actor, key: AccessKey | None, account: str, request: KeyRequest
    ) -> tuple[KeyRecord, str]:
        """Make a key, and return it with its secret; raises ValueRefused."""
        ...

    async def list_keys(self, key: AccessKey | None, account: str | None) -> Sequence[KeyRecord]:
        """Return the keys that a key may see, of an account."""
        ...

    async def get_key(self, key: AccessKey | None, access_key_id: str) -> KeyRecord:
        """Return a key."""
        ...

    async def update_key(
        self, actor: Actor, key: AccessKey | None, access_key_id: str, change: KeyChange, expected_version: int | None
    ) -> KeyRecord:
        """Change a key; raises ChangedMeanwhile, ValueRefused."""
        ...

    async def rotate_key(
        self, actor: Actor, key: AccessKey | None, access_key_id: str, keep_old_seconds: int
    ) -> tuple[KeyRecord, str]:
        """Give a key a new secret, and return both."""
        ...

    async def delete_key(self, actor: Actor, key: AccessKey | None, access_key_id: str) -> None:
        """Delete a key."""
        ...


# --- the audit log -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """A line of the audit log; before and after are JSON."""

    id: int
    happened_at: datetime
    account: str
    access_key_id: str | None
    address: str | None
    action: str
    registry: str | None
    object: str
    before: str | None
    after: str | None
    result: str
    count: int


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which lines of the audit log are wanted."""

    registry_ids: tuple[int, ...] | None
    """None is everything, lines that belong to no registry included."""
    account: str | None
    action: str | None
    result: str | None
    since: datetime | None
    until: datetime | None


class Audit(Protocol):
    """The audit log."""

    async def list(self, wanted: AuditFilter, before: int | None, limit: int) -> Sequence[AuditRecord]:
        """Return lines with ids below ``before``, the newest first."""
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
