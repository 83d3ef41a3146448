"""Reading a catalogue from a bucket, as somebody who knows nothing but what lies there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import ObjectDamaged, ObjectMissing, ValueRefused
from gateway.model.catalogue import LARGEST_SEGMENT, Segment, SegmentKey, catalogue_prefix, decode
from gateway.model.ranges import ByteRange
from gateway.ports.storage import Location
from gateway.services.verify import pieces

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from gateway.ports.storage import BlobStorage


class CatalogueReader:
    """Reads catalogues; what is wrong with one is raised as ValueRefused, with what to do."""

    def __init__(self, storage: BlobStorage) -> None:
        self._storage = storage

    async def list(self, bucket: str, registry: str) -> Sequence[SegmentKey]:
        """Return all segments of a registry, by its public id, of all its generations in their order."""
        found = []
        async for page in self._storage.list_objects(bucket, catalogue_prefix(registry)):
            found += [key for each in page if (key := SegmentKey.parse(each.key, registry))]
        return sorted(found)

    async def series(self, bucket: str, keys: Sequence[SegmentKey]) -> AsyncIterator[Segment]:
        """Yield the segments from the last whole series on, once each is known to follow the one before."""
        last = await self.read(bucket, keys[-1])
        base = next((place for place, key in enumerate(keys) if key.key == last.header.base), None)
        if last.header.base is None:
            raise damaged(bucket, "its first series was never finished")
        if base is None:
            raise damaged(bucket, f"its segment {last.header.base} is missing")
        async for segment in self.chain(bucket, keys[base:]):
            yield segment

    async def chain(self, bucket: str, keys: Sequence[SegmentKey]) -> AsyncIterator[Segment]:
        """Yield segments once each is known to follow the one before."""
        lineage, before = None, None
        for key in keys:
            segment = await self.read(bucket, key)
            if before is not None:
                _check_follows(bucket, key, segment, before)
            lineage = lineage or segment.header.lineage
            if segment.header.lineage != lineage:
                # A database was reconciled and lost before all was written anew: what it wrote means other rows.
                return
            yield segment
            before = key

    async def read(self, bucket: str, key: SegmentKey) -> Segment:
        """Read one segment."""
        location = Location(bucket, key.key)
        try:
            size = await self._storage.stat(location)
            if size is None or size > LARGEST_SEGMENT:
                raise damaged(bucket, f"its segment {key.key} is missing or far too large")
            async with self._storage.open(location, ByteRange(0, size)) as content:
                segment = decode(b"".join([bytes(piece) async for piece in pieces(content)]))
        except (ObjectMissing, ObjectDamaged, ValueError) as error:
            raise damaged(bucket, f"its segment {key.key} is damaged: {error}") from error
        header = segment.header
        if (header.generation, header.seq) != (key.generation, key.seq) or header.registry not in key.key:
            raise damaged(bucket, f"its segment {key.key} was stored under the key of another one")
        return segment


def _check_follows(bucket: str, key: SegmentKey, segment: Segment, before: SegmentKey) -> None:
    if key.seq == before.seq:
        raise damaged(bucket, f"it has two segments with the number {key.seq}, {before.key} and {key.key}")
    if key.seq != before.seq + 1 or segment.header.previous != before.key:
        raise damaged(bucket, f"between {before.key} and {key.key} something is missing")


def damaged(bucket: str, reason: str) -> ValueRefused:
    """Say that a catalogue cannot be used, and what to do."""
    return ValueRefused(
        f"the catalogue in the bucket {bucket} cannot be read: {reason}. Bring that object back, from a version or a "
        "copy of the bucket, or restore the database from a backup; without adopting, a registry can be made that "
        "knows nothing of the images there",
        "bucket",
    )
