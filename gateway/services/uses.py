"""When and from where keys were last used: noted in memory, written every few seconds."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from gateway.background import attempt, repeated

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from gateway.model.access import AccessKey
    from gateway.model.networks import IpAddress
    from gateway.ports.access import KeyIndex

_SECONDS_BETWEEN_WRITES = 5.0
_FAILURE = "the last use of access keys was not written"


class Uses:
    """Remembers the last use of each key until it is written."""

    def __init__(self, keys: KeyIndex) -> None:
        self._keys = keys
        self._latest: dict[int, tuple[datetime, IpAddress]] = {}

    def note(self, key: AccessKey, now: datetime, client: IpAddress) -> None:
        """Note a use; costs a look into memory."""
        self._latest[key.id] = now, client

    async def write(self) -> None:
        """Write all uses since the last time; what cannot be written then is forgotten, newer ones will follow."""
        latest, self._latest = self._latest, {}
        if latest:
            await self._keys.record_uses([(key_id, at, str(client)) for key_id, (at, client) in sorted(latest.items())])

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Write every few seconds as long as the context lasts, and once more in the end."""
        async with repeated(self.write, _SECONDS_BETWEEN_WRITES, _FAILURE):
            yield
        await attempt(self.write, _FAILURE)
