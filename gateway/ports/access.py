"""The access port: accounts, keys, policies, what signs and seals, and the audit log.

As with the metadata port, every method is one transaction, and raises DatabaseUnavailable when the database cannot be
reached. A method that changes something names who does it; the change and its line in the audit log are committed
together, with a notification on ``CHANGES`` that makes all processes forget what they remember.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from gateway.model.access import AccessKey, SecretHash

CHANGES = "slipway_changes"
"""The channel on which changes of registries, accounts, keys and policies are announced."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """Bytes that are secret, encrypted with the configuration's key if there is one."""

    id: str
    value: bytes
    is_sealed: bool


@dataclass(frozen=True, slots=True)
class SigningKeyRecord:
    """A key that signs tokens."""

    sealed: Sealed
    algorithm: str
    signs_from: datetime
    verifies_until: datetime | None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A line of the audit log. Texts only, and nothing secret."""

    action: str
    """Object and verb, for instance ``registry.create`` or ``login``."""
    object: str
    registry_id: int | None = None
    registry: str | None = None
    before: str | None = None
    """JSON."""
    after: str | None = None
    result: str = "done"
    count: int = 1


class KeyIndex(Protocol):
    """What every login and every request asks."""

    async def fetch_key(self, access_key_id: str) -> AccessKey | None:
        """Return a living key with its account, policies and secrets; disabled and expired ones too."""
        ...

    async def record_uses(self, uses: Sequence[tuple[int, datetime, str]]) -> None:
        """Note when and from where keys were last used: (key id, time, address)."""
        ...


class PepperIndex(Protocol):
    """What is mixed into the hashes of secrets."""

    async def fetch_peppers(self) -> list[Sealed]:
        """Return all peppers, oldest first."""
        ...


class SigningKeyIndex(Protocol):
    """What signs tokens."""

    async def fetch_signing_keys(self) -> list[SigningKeyRecord]:
        """Return all keys that still verify, oldest first."""
        ...

    async def add_signing_key(
        self, key: SigningKeyRecord, *, older_until: datetime, unless_newer_than: datetime | None
    ) -> None:
        """Add a key; older ones verify until ``older_until``, and those that verify no longer are deleted.

        Nothing changes when there is a key that signs later than ``unless_newer_than``: another process was faster.
        """
        ...


@dataclass(frozen=True, slots=True)
class Beginning:
    """What an installation begins with; each only if there is none yet."""

    public_id: str
    pepper: Sealed
    signing_key: SigningKeyRecord


class InstallationIndex(Protocol):
    """What is true of the installation as a whole, and the secrets at rest."""

    async def begin(self, beginning: Beginning) -> str:
        """Store what an installation begins with, and return its public id; of several at once, one is right."""
        ...

    async def create_root(self, access_key_id: str, secret: SecretHash) -> bool:
        """Create the root account with its first access key; False when there is a root account."""
        ...

    async def has_root(self) -> bool:
        """Whether there is a root account."""
        ...

    async def seal(self, peppers: Sequence[Sealed], signing_keys: Sequence[Sealed]) -> None:
        """Replace values that were stored in clear by sealed ones."""
        ...
