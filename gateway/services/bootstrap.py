"""The first start: what an installation begins with, and its root account."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gateway.ports.access import Beginning
from gateway.services.keyring import new_signing_key
from gateway.services.sealing import PEPPER, SIGNING_KEY
from gateway.services.secrets import Secrets, new_access_key_id, new_pepper, new_secret_key

if TYPE_CHECKING:
    from typing import Protocol

    from gateway.ports.access import InstallationIndex, PepperIndex, SigningKeyIndex
    from gateway.services.sealing import Sealer

    class SealedIndex(PepperIndex, SigningKeyIndex, Protocol):
        """Everything that is sealed."""


@dataclass(frozen=True, slots=True)
class RootKey:
    """An access key of the root account, with its secret."""

    access_key_id: str
    secret_key: str = field(repr=False)


class Bootstrap:
    """Prepares the database for the services; several processes may do so at the same time."""

    def __init__(self, installation: InstallationIndex, sealed: SealedIndex, sealer: Sealer) -> None:
        self._installation = installation
        self._sealed = sealed
        self._sealer = sealer

    async def begin(self) -> str:
        """Make sure that there is what tokens and secrets need; return the installation's id.

        Raises ConfigurationError when the secrets at rest need another key than the configuration has.
        """
        beginning = Beginning(
            secrets.token_hex(16), new_pepper(self._sealer), new_signing_key(self._sealer, datetime.now(UTC))
        )
        public_id = await self._installation.begin(beginning)
        await self._seal()
        return public_id

    async def create_root(self, chosen: RootKey | None) -> RootKey | None:
        """Create the root account with a chosen or a random key; None unless it was created here and now."""
        if await self._installation.has_root():
            return None
        key = chosen or RootKey(new_access_key_id(), new_secret_key())
        hashes = Secrets(self._sealed, self._sealer)
        await hashes.load()
        was_created = await self._installation.create_root(key.access_key_id, hashes.hash(key.secret_key))
        return key if was_created else None

    async def _seal(self) -> None:
        """Seal what was stored before there was a key; whatever else there is has to open with it."""
        peppers = [self._sealer.resealed(each, PEPPER) for each in await self._sealed.fetch_peppers()]
        records = await self._sealed.fetch_signing_keys()
        keys = [self._sealer.resealed(each.sealed, SIGNING_KEY) for each in records]
        await self._installation.seal(
            [each for each in peppers if each is not None], [each for each in keys if each is not None]
        )
