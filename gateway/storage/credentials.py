"""The credentials of a storage as a snapshot, kept fresh in the background."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from gateway.background import repeated
from gateway.errors import StorageUnavailable
from gateway.storage.sigv4 import Keys, Signer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_SECONDS_BETWEEN_LOOKS = 60.0
_SHORTEST_LIFE = 60.0
"""Keys that live no longer than this are not used to sign anything new."""


class Credentials:
    """Signs with the newest keys that the library's session has.

    ``refreshable`` is a credentials object of aiobotocore: asked for a snapshot, it renews itself a quarter of an hour
    before it expires. When it expires only a private attribute of it tells.
    """

    def __init__(self, refreshable: Any) -> None:
        self._refreshable = refreshable
        self.signer: Signer
        """For whoever cannot wait; it may have expired."""

    async def refresh(self) -> Signer:
        """Take the keys over; raise StorageUnavailable when there are none."""
        try:
            frozen = await self._refreshable.get_frozen_credentials()
        except Exception as error:
            # Each of the many places that keys come from has its own errors.
            raise StorageUnavailable(f"the credentials of the storage cannot be renewed: {error}") from error
        expiry = getattr(self._refreshable, "_expiry_time", None)
        keys = Keys(frozen.access_key, frozen.secret_key, frozen.token, expiry.timestamp() if expiry else None)
        if not hasattr(self, "signer") or self.signer.keys != keys:
            self.signer = Signer(keys)
        return self.signer

    async def current(self) -> Signer:
        """Return a signer whose keys live for a while."""
        if self.life(time.time()) <= _SHORTEST_LIFE:
            await self.refresh()
        return self.signer

    def life(self, now: float) -> float:
        """Return for how many seconds the keys will be good."""
        expires = self.signer.keys.expires
        return float("inf") if expires is None else expires - now

    @asynccontextmanager
    async def kept_fresh(self) -> AsyncIterator[None]:
        """Look for newer keys once a minute, so that no request has to wait for them."""
        await self.refresh()
        async with repeated(self.refresh, _SECONDS_BETWEEN_LOOKS, "requests are signed with older keys"):
            yield
