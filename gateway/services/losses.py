"""Looking for blobs of which a catalogue tells and whose objects are not in the bucket.

An object is removed a moment before the catalogue says so, and may be missing from a copy of a bucket. Such a blob is
withdrawn: it is answered for as if it were not there, so that clients push it again instead of relying on it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from gateway.model.keys import objects_of
from gateway.ports.storage import Location

if TYPE_CHECKING:
    from gateway.model.access import Actor
    from gateway.ports.metadata import Registry
    from gateway.ports.storage import BlobStorage
    from gateway.ports.surveys import ObjectRow, SurveyIndex

_log = logging.getLogger(__name__)

_ROWS = 1000


class Losses:
    """Finds and withdraws such blobs; others may push and pull meanwhile."""

    def __init__(self, index: SurveyIndex, storage: BlobStorage) -> None:
        self._index = index
        self._storage = storage

    async def withdraw(self, actor: Actor, registry: Registry) -> int:
        """Withdraw what is published and not there, or of another size; return how many blobs that were."""
        count, last = 0, ""
        while rows := await self._index.list_object_rows(registry, last, _ROWS):
            # The rows were read first: what they publish was stored before, so that it must be listed.
            stored = await self._sizes(registry, last, rows[-1].key)
            for row in rows:
                is_known = row.digest is not None and not row.is_withdrawn
                if is_known and stored.get(row.key) != row.size and not await self._is_there(registry, row):
                    count += await self._index.withdraw_blob(actor, row.key)
            last = rows[-1].key
        if count:
            _log.warning(
                "%d blobs are not in the bucket %s: they are unknown until they are pushed again; `slipway fsck` tells "
                "which images need them",
                *(count, registry.bucket),
            )
        return count

    async def _is_there(self, registry: Registry, row: ObjectRow) -> bool:
        """Look for one object itself: a list is only good for finding those that are worth a look."""
        return await self._storage.stat(Location(registry.bucket, row.key)) == row.size

    async def _sizes(self, registry: Registry, after: str, last: str) -> dict[str, int]:
        """Return the sizes of the objects behind one key, up to another one."""
        found: dict[str, int] = {}
        async for page in self._storage.list_objects(registry.bucket, objects_of(registry.public_id), after):
            found |= {each.key: each.size for each in page if each.key <= last}
            if page[-1].key > last:
                break
        return found
