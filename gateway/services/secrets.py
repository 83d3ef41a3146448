"""Access key ids and secret keys: how they are made, and what is kept of a secret.

Secrets are random and long, so one round of HMAC with a pepper is enough, and costs microseconds at every login.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import string
from typing import TYPE_CHECKING, Final

from gateway.errors import BackendError
from gateway.model.access import SecretHash
from gateway.services.sealing import PEPPER

if TYPE_CHECKING:
    from gateway.ports.access import PepperIndex, Sealed
    from gateway.services.sealing import Sealer

_SCHEME = "hmac-sha256"
_PEPPER_BYTES = 32
_ID_LETTERS = string.ascii_uppercase + string.digits
_SECRET_LETTERS = string.ascii_letters + string.digits
_ID_PREFIX: Final = "SW"
_MARK: Final = "slw_"
_ID_LENGTH = 20
_SECRET_LENGTH = 40


def new_access_key_id() -> str:
    """Return a random access key id: 20 capital letters and digits."""
    return _ID_PREFIX + _random(_ID_LETTERS, _ID_LENGTH - len(_ID_PREFIX))


def new_secret_key() -> str:
    """Return a random secret of 238 bits; its prefix lets scanners find secrets that leaked."""
    return _MARK + _random(_SECRET_LETTERS, _SECRET_LENGTH)


def new_pepper(sealer: Sealer) -> Sealed:
    """Return a new random pepper as it is stored; the database gives it its id."""
    return sealer.seal("", secrets.token_bytes(_PEPPER_BYTES), PEPPER)


class Secrets:
    """Hashes secrets with peppers; a pepper that another process has made is loaded when it is met."""

    def __init__(self, index: PepperIndex, sealer: Sealer) -> None:
        self._index = index
        self._sealer = sealer
        self._peppers: dict[int, bytes] = {}

    async def load(self) -> None:
        """Load all peppers, before anything else is called; raise ConfigurationError when they cannot be opened."""
        records = await self._index.fetch_peppers()
        self._peppers = {int(record.id): self._sealer.open(record, PEPPER) for record in records}

    def hash(self, secret: str) -> SecretHash:
        """Return what is kept of a secret, made with the newest pepper."""
        pepper_id = max(self._peppers)
        return SecretHash(_SCHEME, pepper_id, _hashed(self._peppers[pepper_id], secret))

    def derived(self, purpose: str) -> dict[int, bytes]:
        """Return a key for one purpose only from each pepper, by its id; all processes derive the same."""
        return {
            number: hmac.digest(pepper, purpose.encode(), hashlib.sha256) for number, pepper in self._peppers.items()
        }

    async def matches(self, secret: str, kept: SecretHash) -> bool:
        """Whether a secret is the one that something was kept of; takes the same time for all that are not."""
        if kept.pepper_id not in self._peppers:
            await self.load()
        pepper = self._peppers.get(kept.pepper_id)
        if pepper is None:
            raise BackendError(f"pepper {kept.pepper_id}, which a secret was hashed with, is not in the database")
        return hmac.compare_digest(_hashed(pepper, secret), kept.hash)


def _hashed(pepper: bytes, secret: str) -> bytes:
    # Whatever a client may send has a hash, lone surrogates of undecodable bytes too.
    return hmac.digest(pepper, secret.encode("utf-8", "surrogatepass"), hashlib.sha256)


def _random(letters: str, count: int) -> str:
    return "".join(secrets.choice(letters) for _ in range(count))
