"""The catalogue: what is known of a registry's images, written to its bucket a second or two after it has changed.

The database notes what changes. Every process draws segments of it and stores them; one that was drawn and not stored,
because a process died or the storage was away, is stored by whoever comes next. A bucket whose catalogue is ahead of
the database is left alone: the database was restored from a backup, and knows nothing of what happened since.
"""

from __future__ import annotations

import asyncio
import logging
import time
from enum import Enum, auto
from typing import TYPE_CHECKING

from gateway.background import repeated
from gateway.errors import BackendError, ValueRefused
from gateway.model.catalogue import SegmentKey, catalogue_prefix
from gateway.ports.storage import Location
from gateway.services.guards import objection
from gateway.services.measuring import measured

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager

    from gateway.ports.catalogue import Backlog, CatalogueIndex
    from gateway.ports.collection import Guard
    from gateway.ports.metadata import Registry
    from gateway.ports.storage import BlobStorage
    from gateway.services.markers import Markers

_log = logging.getLogger(__name__)

_SECONDS_BETWEEN_ROUNDS = 1.0
_SECONDS_BETWEEN_LOOKS = 60.0
_SECONDS_AFTER_FAILURE = 10.0
_SECONDS_TO_BELIEVE = 1500.0
_SECONDS_TO_WAIT_FOR_ANOTHER = 0.05
_AT_A_TIME = 2


class Standing(Enum):
    """How the catalogue in a bucket stands to the database."""

    CURRENT = auto()
    AHEAD = auto()
    """There are segments that this database has never had."""
    CUT = auto()
    """The last segment is gone."""


class CatalogueGuard:
    """Looks whether a bucket holds more than the database knows; implements ports.collection.Guard."""

    def __init__(self, index: CatalogueIndex, storage: BlobStorage) -> None:
        self._index = index
        self._storage = storage
        self._looked: dict[tuple[int, int], tuple[str, float, str | None]] = {}

    async def objection(self, registry: Registry) -> str | None:
        """Say that the bucket is ahead of the database, and what to do; what was seen holds for a while.

        As long as that is so, the database may not judge what is garbage, nor write what would contradict the bucket.
        """
        key = registry.id, registry.generation
        # A standby that has taken over may know less than the database that was compared with the bucket.
        life = await self._index.fetch_life()
        seen_in, until, reason = self._looked.get(key, ("", 0.0, None))
        if seen_in != life or until < time.monotonic():
            reason = await self._judge(registry)
            seconds = _SECONDS_BETWEEN_LOOKS if reason is None else _SECONDS_AFTER_FAILURE
            self._looked[key] = life, time.monotonic() + seconds, reason
        return reason

    @property
    def ahead(self) -> int:
        """How many buckets were ahead when this process has looked last.

        Every ten minutes some process looks at all of them, to collect what nothing needs; what was seen longer ago
        than two of these rounds counts no more, since somebody else may have seen by now that all is well.
        """
        since = time.monotonic() - _SECONDS_TO_BELIEVE
        return sum(reason is not None and until >= since for _, until, reason in self._looked.values())

    def forget(self, registry: Registry) -> None:
        """Look again next time."""
        self._looked.pop((registry.id, registry.generation), None)

    async def _judge(self, registry: Registry) -> str | None:
        standing = await self.look(registry)
        if standing is Standing.CUT:
            _log.warning("the catalogue in the bucket %s has lost its end and is written anew", registry.bucket)
            await self._index.begin_anew(registry)
        return ahead(registry) if standing is Standing.AHEAD else None

    async def look(self, registry: Registry) -> Standing:
        """Compare the catalogue in the bucket with the database."""
        last = await self._index.fetch_last(registry)
        prefix = catalogue_prefix(registry.public_id, registry.generation)
        known = SegmentKey.parse(last, registry.public_id) if last and last.startswith(prefix) else None
        begin = f"{prefix}{known.seq:016}" if known else ""
        is_there = known is None
        async for page in self._storage.list_objects(registry.bucket, prefix, begin):
            # Asked after the list was read: whatever is in it was committed before.
            keys = [each.key for each in page if SegmentKey.parse(each.key, registry.public_id)]
            if await self._index.fetch_unknown(keys):
                return Standing.AHEAD
            is_there = is_there or last in keys
        if known is not None and not is_there:
            is_there = await self._storage.stat(Location(registry.bucket, known.key)) is not None
        return Standing.CURRENT if is_there else Standing.CUT


class CatalogueWriter:
    """Writes catalogues to buckets."""

    def __init__(self, index: CatalogueIndex, storage: BlobStorage, markers: Markers, guard: CatalogueGuard) -> None:
        self._index = index
        self._storage = storage
        self._markers = markers
        self.guard = guard
        self._paused: dict[int, float] = {}
        self._working = asyncio.Semaphore(_AT_A_TIME)

    def running(self) -> AbstractAsyncContextManager[None]:
        """Write in the background as long as the context lasts."""
        return repeated(self.write_all, _SECONDS_BETWEEN_ROUNDS, "catalogues could not be written", at_once=True)

    async def write_all(self) -> None:
        """Write what waits now; what cannot be written waits for a while."""
        await asyncio.gather(*(self._write_patiently(each) for each in await self._index.fetch_waiting()))

    async def measure(self) -> Backlog | None:
        """Return what waits to be written; None while the database does not say."""
        return await measured(self._index.measure_backlog())

    async def flush(self, registry: Registry) -> None:
        """Return when everything that has changed until now is in the bucket.

        Raises ValueRefused when the bucket is ahead of the database.
        """
        await _refuse_if((self.guard,), registry)
        end = await self._index.fetch_end(registry)
        while not await self._index.is_written(registry, end):
            if not await self._write(registry, at_once=True):
                await asyncio.sleep(_SECONDS_TO_WAIT_FOR_ANOTHER)

    async def _write_patiently(self, registry: Registry) -> None:
        if self._paused.get(registry.id, 0.0) > time.monotonic():
            return
        try:
            async with self._working:
                await self._write_waiting(registry)
        except (BackendError, ValueRefused) as error:
            self._paused[registry.id] = time.monotonic() + _SECONDS_AFTER_FAILURE
            _log.warning("the catalogue in the bucket %s could not be written: %s", registry.bucket, error)

    async def _write_waiting(self, registry: Registry) -> None:
        await _refuse_if((self._markers, self.guard), registry)
        while await self._write(registry):
            pass

    async def _write(self, registry: Registry, *, at_once: bool = False) -> bool:
        """Write a segment, and return whether there is more to write."""
        drawn = await self._index.draw(registry, at_once=at_once)
        if drawn is None:
            return False
        await self._storage.store(Location(registry.bucket, drawn.key), drawn.content)
        await self._index.record_stored(registry, drawn.key)
        return drawn.is_full


async def _refuse_if(guards: Sequence[Guard], registry: Registry) -> None:
    """Raise ValueRefused when somebody objects to writing."""
    if reason := await objection(guards, registry):
        raise ValueRefused(reason)


def ahead(registry: Registry) -> str:
    """Say that a bucket is ahead of the database, and what to do."""
    return (
        f"the catalogue in the bucket {registry.bucket} is ahead of the database, which was probably restored from a "
        "backup: nothing is removed from that bucket or written to its catalogue until "
        "`slipway registry reconcile NAME` has brought back what the database does not know"
    )
