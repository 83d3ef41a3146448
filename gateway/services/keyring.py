"""The keys that sign tokens: shared by all processes, and changed while they work.

A new key signs only after every process has had the time to load it, and an old one verifies until the last token that
it signed has expired. So nobody notices a change.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.background import repeated
from gateway.ports.access import SigningKeyRecord
from gateway.services.sealing import SIGNING_KEY

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from gateway.ports.access import SigningKeyIndex
    from gateway.services.sealing import Sealer

ALGORITHM = "EdDSA"
LEEWAY = timedelta(seconds=60)
"""How far the clocks of two machines may be apart."""

_LIFETIME = timedelta(days=30)
_TIME_TO_LOAD = timedelta(seconds=60)
_SECONDS_BETWEEN_LOADS = 15.0
_SECONDS_BETWEEN_LOADS_FOR_UNKNOWN_KEYS = 1.0


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key that signs from a moment on, until the next one does."""

    id: str
    private_key: Ed25519PrivateKey
    public_key: Ed25519PublicKey
    signs_from: datetime
    verifies_until: datetime | None

    def verifies(self, now: datetime) -> bool:
        """Whether tokens of this key still count."""
        return self.verifies_until is None or now < self.verifies_until


def new_signing_key(sealer: Sealer, signs_from: datetime) -> SigningKeyRecord:
    """Return a new random key as it is stored."""
    value = Ed25519PrivateKey.generate().private_bytes_raw()
    return SigningKeyRecord(sealer.seal(secrets.token_hex(8), value, SIGNING_KEY), ALGORITHM, signs_from, None)


class Keyring:
    """The keys as this process knows them; ``load`` has to be called before anything else."""

    def __init__(self, index: SigningKeyIndex, sealer: Sealer, token_seconds: int) -> None:
        self._index = index
        self._sealer = sealer
        self._token_lifetime = timedelta(seconds=token_seconds)
        self._keys: dict[str, SigningKey] = {}
        self._loaded_at = 0.0

    async def load(self) -> None:
        """Load all keys that still verify; raise ConfigurationError when they cannot be opened."""
        self._loaded_at = time.monotonic()
        records = await self._index.fetch_signing_keys()
        self._keys = {record.sealed.id: self._opened(record) for record in records}

    def all(self) -> list[SigningKey]:
        """Return the keys that sign or still verify, oldest first."""
        return sorted(self._keys.values(), key=lambda key: key.signs_from)

    def signing(self, now: datetime) -> SigningKey:
        """Return the key that signs now."""
        keys = self.all()
        # Where the clock is late, the first key signs before its time.
        return next((key for key in reversed(keys) if key.signs_from <= now), keys[0])

    async def verifying(self, key_id: str, now: datetime) -> SigningKey | None:
        """Return the key of an id, None for what is no key (any more)."""
        if key_id not in self._keys and self._may_load():
            await self.load()
        key = self._keys.get(key_id)
        return key if key is not None and key.verifies(now) else None

    async def rotate(self, now: datetime) -> None:
        """Add a key that signs in a minute, and let the others end after it."""
        await self._add(now, unless_newer_than=None)

    async def rotate_if_due(self, now: datetime) -> None:
        """Do so if the newest key is old enough, unless another process has just done it."""
        newest = self.all()[-1].signs_from
        if now - newest >= _LIFETIME:
            await self._add(now, unless_newer_than=newest)

    def running(self) -> AbstractAsyncContextManager[None]:
        """Keep up with other processes, and rotate on schedule, as long as the context lasts."""
        return repeated(self._keep_up, _SECONDS_BETWEEN_LOADS, "the keys that sign tokens were not loaded")

    async def _add(self, now: datetime, unless_newer_than: datetime | None) -> None:
        key = new_signing_key(self._sealer, now + _TIME_TO_LOAD)
        # Whoever was late to load the new key may have signed with the old one a little longer.
        older_until = key.signs_from + self._token_lifetime + 2 * LEEWAY
        await self._index.add_signing_key(key, older_until=older_until, unless_newer_than=unless_newer_than)
        await self.load()

    async def _keep_up(self) -> None:
        await self.load()
        await self.rotate_if_due(datetime.now(UTC))

    def _may_load(self) -> bool:
        return time.monotonic() - self._loaded_at >= _SECONDS_BETWEEN_LOADS_FOR_UNKNOWN_KEYS

    def _opened(self, record: SigningKeyRecord) -> SigningKey:
        private_key = Ed25519PrivateKey.from_private_bytes(self._sealer.open(record.sealed, SIGNING_KEY))
        return SigningKey(
            record.sealed.id, private_key, private_key.public_key(), record.signs_from, record.verifies_until
        )
