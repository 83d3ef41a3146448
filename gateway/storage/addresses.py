"""Where objects are, and presigned addresses: made in microseconds, and the same for a minute."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from gateway.errors import StorageUnavailable
from gateway.ports.storage import Location
from gateway.storage.sigv4 import place_of, signs_alike

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.storage.credentials import Credentials
    from gateway.storage.sigv4 import Place

    Presign = Callable[[Location], Awaitable[str]]

_log = logging.getLogger(__name__)

_ROUND = 60
"""Addresses are dated to the last full minute."""
_SHORTEST = 2 * _ROUND
_LONGEST = 600
_MOST_KEPT = 10_000
_SAMPLE_KEY = "slipway/sample (+é~)"


class Places:
    """Knows where each bucket's objects are, and that our signatures for them are the library's.

    ``presign`` is the library's way to an address: slow, and never wrong.
    """

    def __init__(self, credentials: Credentials, presign: Presign) -> None:
        self._credentials = credentials
        self._presign = presign
        self._found: dict[str, Place | None] = {}

    async def of(self, bucket: str) -> Place | None:
        """Return where a bucket's objects are; None where our signature is another one."""
        if bucket not in self._found:
            self._found[bucket] = await self._find(bucket)
        return self._found[bucket]

    async def _find(self, bucket: str) -> Place | None:
        """Let the library sign an address, take it apart, and make sure that we would have made the same."""
        sample = await self._presign(Location(bucket, _SAMPLE_KEY))
        place = place_of(sample, _SAMPLE_KEY)
        signer = await self._credentials.refresh()
        if place is not None and signs_alike(signer, place, sample, _SAMPLE_KEY):
            return place
        _log.warning("objects in %s are read and signed for by the library: our signature is another one", bucket)
        return None


class Addresses:
    """Signs addresses that live as long as was asked for, but not longer than the keys that sign them."""

    def __init__(self, credentials: Credentials, seconds: int) -> None:
        self._credentials = credentials
        self._seconds = min(seconds, _LONGEST)
        self._minute = 0
        self._kept: dict[Location, str] = {}

    async def of(self, place: Place, location: Location) -> str | None:
        """Return the address of an object; None when the keys will expire too soon for one."""
        now = time.time()
        minute = int(now) // _ROUND * _ROUND
        if minute != self._minute or len(self._kept) >= _MOST_KEPT:
            self._kept.clear()
            self._minute = minute
        address = self._kept.get(location)
        if address is not None:
            return address
        if self._credentials.life(minute) < self._seconds:
            with suppress(StorageUnavailable):
                # The old ones may do for a while.
                await self._credentials.refresh()
        seconds = int(min(self._seconds, self._credentials.life(minute)))
        if seconds < min(_SHORTEST, self._seconds):
            return None
        address = self._credentials.signer.address(place, location.key, minute, seconds)
        if minute == self._minute:
            self._kept[location] = address
        return address


class Signing:
    """Addresses at one host of the service; where our signature is not the library's, the library signs each."""

    def __init__(self, presign: Presign, places: Places | None, addresses: Addresses | None) -> None:
        self._presign = presign
        self._places = places
        self._addresses = addresses

    async def presign(self, location: Location) -> str | None:
        """Return the address of an object; None when the keys will expire too soon for one."""
        place = await self._places.of(location.bucket) if self._places else None
        if place is not None and self._addresses is not None:
            return await self._addresses.of(place, location)
        return await self._presign(location)
