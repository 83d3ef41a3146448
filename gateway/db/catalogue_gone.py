"""Dropping what a catalogue says is gone: rows of a database from a backup, collected since it was made."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from gateway.db.statements import statement
from gateway.model.catalogue import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from gateway.db.pool import Connection, Database
    from gateway.ports.metadata import Registry

_PAGE_GONE = statement("page_gone")
_DROP_GONE_TAGS = statement("drop_gone_tags")
_DROP_GONE_MANIFESTS = statement("drop_gone_manifests")
_LOCK_GONE_REPOSITORY_BLOBS = statement("lock_gone_repository_blobs")
_DROP_GONE_REPOSITORY_BLOBS = statement("drop_gone_repository_blobs")
_LOCK_GONE_BLOBS = statement("lock_gone_blobs")
_DROP_REPOSITORY_BLOBS_OF_GONE = statement("drop_repository_blobs_of_gone")
_DROP_GONE_BLOBS = statement("drop_gone_blobs")
_DROP_GONE_DELETIONS = statement("drop_gone_deletions")
_DROP_GONE_REPOSITORIES = statement("drop_gone_repositories")

# Each before those that it refers to.
_DROPS = {
    Kind.TAG: (_DROP_GONE_TAGS,),
    Kind.MANIFEST: (_DROP_GONE_MANIFESTS,),
    Kind.REPOSITORY_BLOB: (_DROP_GONE_REPOSITORY_BLOBS,),
    Kind.BLOB: (_DROP_REPOSITORY_BLOBS_OF_GONE, _DROP_GONE_BLOBS),
    Kind.DELETION: (_DROP_GONE_DELETIONS,),
    Kind.REPOSITORY: (_DROP_GONE_REPOSITORIES,),
}
_BATCH = 1000


async def drop_gone(database: Database, registry: Registry, since: datetime) -> None:
    """Drop rows that are gone by what was gathered, unless they were changed, or came to be, after ``since``."""
    for kind, drops in _DROPS.items():
        last = -1
        while rows := await database.fetch(_PAGE_GONE, registry.id, kind, last, _BATCH):
            ids = [row["entity_id"] for row in rows]

            await database.transact(partial(_drop, registry, kind, drops, ids, since))
            last = ids[-1]


async def _drop(
    registry: Registry,
    kind: Kind,
    drops: Sequence[str],
    ids: Sequence[int],
    since: datetime,
    connection: Connection,
) -> None:
    await _lock(connection, registry, kind, ids)
    for drop in drops:
        await connection.execute(drop, registry.id, ids, since)


async def _lock(connection: Connection, registry: Registry, kind: Kind, ids: Sequence[int]) -> None:
    """Keep to the locking rule of references."""
    if kind is Kind.REPOSITORY_BLOB:
        await connection.execute(_LOCK_GONE_REPOSITORY_BLOBS, ids)
    elif kind is Kind.BLOB:
        await connection.execute(_LOCK_GONE_BLOBS, registry.id, ids)
