"""The accounts port: managing accounts, their policies and their keys.

As with the metadata port, every method is one transaction, and raises DatabaseUnavailable when the database cannot be
reached. A change is committed together with its line in the audit log and a notification on ``ports.access.CHANGES``.

A change names a guard, which is called with the account that it concerns, as it is while nobody else can change it,
and raises whatever refuses the change. Accounts, keys and registries that do not exist raise NothingKnown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypedDict

from gateway.model.access import Account

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from gateway.model.access import Action, Actor, Role, SecretHash

Guard = Callable[[Account], None]


@dataclass(frozen=True, slots=True)
class AccountRecord:
    """An account."""

    id: int
    name: str
    is_root: bool
    note: str
    version: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class PolicyRecord:
    """A role of an account, in one registry or (None) in all."""

    account_id: int
    account: str
    role: Role
    registry: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """An access key, without its secret."""

    id: int
    access_key_id: str
    account_id: int
    account: str
    note: str
    actions: frozenset[Action] | None
    """What it is narrowed to; None is no narrowing."""
    repositories: tuple[str, ...] | None
    disabled: bool
    expires_at: datetime | None
    last_used_at: datetime | None
    last_used_from: str | None
    version: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """What a new key is to be."""

    note: str = ""
    actions: frozenset[Action] | None = None
    repositories: tuple[str, ...] | None = None
    expires_at: datetime | None = None


class KeyChange(TypedDict, total=False):
    """What is to become of a key; what is left out stays as it is."""

    note: str
    disabled: bool
    expires_at: datetime | None
    actions: frozenset[Action] | None
    repositories: tuple[str, ...] | None


class AccountIndex(Protocol):
    """Accounts and their policies."""

    async def list_accounts(self) -> list[AccountRecord]:
        """Return all accounts by name."""
        ...

    async def fetch_account(self, name: str) -> AccountRecord:
        """Return an account."""
        ...

    async def add_account(self, actor: Actor, name: str, note: str) -> AccountRecord:
        """Make an account; raises AlreadyTaken."""
        ...

    async def delete_account(self, actor: Actor, name: str, guard: Guard) -> None:
        """Delete an account with its policies and keys."""
        ...

    async def list_policies(self, account: str | None, registry: str | None) -> list[PolicyRecord]:
        """Return policies of one account or all, for one registry alone or for any."""
        ...

    async def grant(self, actor: Actor, account: str, role: Role, registry: str | None, guard: Guard) -> PolicyRecord:
        """Give an account a role, which it may have already."""
        ...

    async def revoke(self, actor: Actor, account: str, role: Role, registry: str | None, guard: Guard) -> None:
        """Take a role from an account; raises NothingKnown if it has it not."""
        ...


class KeyManagement(Protocol):
    """Access keys, as their owners and managers see them.

    The root account always keeps a key that is neither disabled nor narrowed and does not expire: what would take the
    last one away raises ValueRefused.
    """

    async def list_keys(self, account: str | None) -> Sequence[KeyRecord]:
        """Return keys of one account or all, by id."""
        ...

    async def fetch_key_record(self, access_key_id: str) -> KeyRecord:
        """Return a key."""
        ...

    async def add_key(
        self, actor: Actor, account: str, access_key_id: str, secret: SecretHash, request: KeyRequest, guard: Guard
    ) -> KeyRecord:
        """Make a key."""
        ...

    async def change_key(
        self, actor: Actor, access_key_id: str, change: KeyChange, expected_version: int | None, guard: Guard
    ) -> KeyRecord:
        """Change a key; raises ChangedMeanwhile when it has another version than expected."""
        ...

    async def replace_secret(
        self, actor: Actor, access_key_id: str, secret: SecretHash, keep_old_seconds: int, guard: Guard
    ) -> KeyRecord:
        """Give a key another secret; the one before goes on for some seconds, all older ones end now."""
        ...

    async def delete_key(self, actor: Actor, access_key_id: str, guard: Guard) -> None:
        """Delete a key."""
        ...
