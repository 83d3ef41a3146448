"""Dropping rows that nothing needs.

Rows are taken with SKIP LOCKED, the longest due first; what they depend on is read again in a new statement, once they
are locked. Locks go in the order of all changes: registries, images, blobs in digest order, manifests, tags.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.db.statements import statement
from gateway.db.untagged import delete_untagged, estimate_untagged
from gateway.model.collection import Collected, Queue, Stage
from gateway.ports.collection import Batch
from gateway.ports.metadata import Registry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import datetime

    import asyncpg

    from gateway.db.pool import Connection, Database
    from gateway.model.collection import Keeping

    Due = tuple[float, datetime, Sequence[int], int]
    Found = tuple[Sequence[asyncpg.Record], Collected]

_TAKE_TURN = statement("take_turn")
_LIST_REGISTRIES_TO_COLLECT = statement("list_registries_to_collect")
_LOCK_LIVING_REGISTRIES = statement("lock_living_registries")
_PURGE_DELETIONS = statement("purge_deletions")
_FIND_PURGEABLE_MANIFESTS = statement("find_purgeable_manifests")
_LOCK_BLOBS_OF_MANIFESTS = statement("lock_blobs_of_manifests")
_LOCK_PURGEABLE_MANIFESTS = statement("lock_purgeable_manifests")
_PURGE_TAGS_OF_MANIFESTS = statement("purge_tags_of_manifests")
_PURGE_MANIFESTS = statement("purge_manifests")
_RELEASE_BLOBS = statement("release_blobs")
_PURGE_TAGS = statement("purge_tags")
_LOCK_UNREFERENCED_BLOBS = statement("lock_unreferenced_blobs")
_DROP_UNREFERENCED_BLOBS = statement("drop_unreferenced_blobs")
_LOCK_DELETED_BLOBS = statement("lock_deleted_blobs")
_DROP_DELETED_BLOBS = statement("drop_deleted_blobs")
_LOCK_BLOBS = statement("lock_blobs")
_DROP_BLOBS = statement("drop_blobs")
_LOCK_EMPTY_REPOSITORIES = statement("lock_empty_repositories")
_PURGE_PULLS_OF_REPOSITORIES = statement("purge_pulls_of_repositories")
_PURGE_REPOSITORIES = statement("purge_repositories")
_ESTIMATE_COLLECTION = statement("estimate_collection")
_MEASURE_QUEUE = statement("measure_queue")


class Collection:
    """Implements ports.collection.CollectionIndex."""

    def __init__(self, database: Database, storage: str) -> None:
        """Look after the registries in one storage, by its name."""
        self._database = database
        self._storage = storage

    async def take_turn(self, name: str, seconds: float) -> bool:
        """See the port."""
        return await self._database.fetchrow(_TAKE_TURN, name, seconds) is not None

    async def list_registries(self, name: str | None = None) -> list[Registry]:
        """See the port."""
        rows = await self._database.fetch(_LIST_REGISTRIES_TO_COLLECT, self._storage, name)
        return [Registry(**row) for row in rows]

    async def delete_untagged(self, registries: Sequence[Registry]) -> int:
        """See the port."""
        return await delete_untagged(self._database, registries)

    async def collect(
        self, stage: Stage, registries: Sequence[Registry], keeping: Keeping, after: datetime, limit: int
    ) -> Batch:
        """See the port."""
        kept = keeping.grace if stage is Stage.UNREFERENCED_BLOBS else keeping.restore
        ids = [each.id for each in registries]

        async def work(connection: Connection) -> Batch:
            living = [row["id"] for row in await connection.fetch(_LOCK_LIVING_REGISTRIES, ids)]
            rows, collected = await _COLLECTING[stage](connection, (kept.total_seconds(), after, living, limit))
            return Batch(collected, max(row["since"] for row in rows) if len(rows) == limit else None)

        return await self._database.transact(work)

    async def measure_queue(self, keeping: Keeping) -> Queue:
        """See the port."""
        seconds = keeping.grace.total_seconds(), keeping.restore.total_seconds()
        row = await self._database.fetchrow(_MEASURE_QUEUE, *seconds, self._storage)
        assert row is not None
        return Queue(**row)

    async def estimate(self, registries: Sequence[Registry], keeping: Keeping) -> Collected:
        """See the port."""
        seconds = keeping.grace.total_seconds(), keeping.restore.total_seconds()
        untagged = await estimate_untagged(self._database, registries)
        ids = [each.id for each in registries]
        row = await self._database.fetchrow(_ESTIMATE_COLLECTION, *seconds, ids, untagged)
        assert row is not None
        return Collected(untagged=len(untagged), **row)


async def _deletions(connection: Connection, due: Due) -> Found:
    return await connection.fetch(_PURGE_DELETIONS, *due), Collected()


async def _manifests(connection: Connection, due: Due) -> Found:
    rows = await connection.fetch(_FIND_PURGEABLE_MANIFESTS, *due)
    found = [row["id"] for row in rows]
    blobs = [row["id"] for row in await connection.fetch(_LOCK_BLOBS_OF_MANIFESTS, found)]
    manifests = [row["id"] for row in await connection.fetch(_LOCK_PURGEABLE_MANIFESTS, found, due[0])]
    tags = await connection.fetch(_PURGE_TAGS_OF_MANIFESTS, manifests)
    await connection.execute(_PURGE_MANIFESTS, manifests)
    await connection.execute(_RELEASE_BLOBS, blobs)
    return rows, Collected(manifests=len(manifests), tags=len(tags))


async def _tags(connection: Connection, due: Due) -> Found:
    rows = await connection.fetch(_PURGE_TAGS, *due)
    return rows, Collected(tags=len(rows))


async def _unreferenced_blobs(connection: Connection, due: Due) -> Found:
    rows = await connection.fetch(_LOCK_UNREFERENCED_BLOBS, *due)
    return rows, await _drop(connection, _DROP_UNREFERENCED_BLOBS, rows)


async def _deleted_blobs(connection: Connection, due: Due) -> Found:
    rows = await connection.fetch(_LOCK_DELETED_BLOBS, *due)
    return rows, await _drop(connection, _DROP_DELETED_BLOBS, rows)


async def _drop(connection: Connection, drop: str, rows: Sequence[asyncpg.Record]) -> Collected:
    """Drop locked blobs of repositories, and then what no repository has any more."""
    dropped = await connection.fetch(drop, [row["id"] for row in rows])
    blobs = sorted({row["blob_id"] for row in dropped})
    await connection.execute(_LOCK_BLOBS, blobs)
    sizes = [row["size"] for row in await connection.fetch(_DROP_BLOBS, blobs)]
    return Collected(repository_blobs=len(dropped), blobs=len(sizes), bytes=sum(sizes))


async def _images(connection: Connection, due: Due) -> Found:
    rows = await connection.fetch(_LOCK_EMPTY_REPOSITORIES, *due)
    found = [row["id"] for row in rows]
    for purge in (_PURGE_PULLS_OF_REPOSITORIES, _PURGE_REPOSITORIES):
        await connection.execute(purge, found)
    return rows, Collected(images=len(rows))


_COLLECTING: dict[Stage, Callable[[Connection, Due], Awaitable[Found]]] = {
    Stage.DELETIONS: _deletions,
    Stage.MANIFESTS: _manifests,
    Stage.TAGS: _tags,
    Stage.UNREFERENCED_BLOBS: _unreferenced_blobs,
    Stage.DELETED_BLOBS: _deleted_blobs,
    Stage.IMAGES: _images,
}
