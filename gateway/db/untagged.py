"""Manifests without a tag, of images that do not keep them for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.db.manifests import delete_living_manifest, lock_living_manifest
from gateway.db.repositories import lock_repository
from gateway.db.statements import statement
from gateway.model.access import Actor
from gateway.model.digest import Digest
from gateway.model.names import RepositoryName
from gateway.ports.metadata import Registry

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

    from gateway.db.pool import Connection, Database

_FIND_UNTAGGED_MANIFESTS = statement("find_untagged_manifests")
_IS_UNTAGGED = statement("is_untagged")
_ESTIMATE_UNTAGGED_MANIFESTS = statement("estimate_untagged_manifests")

_SYSTEM = Actor(None, "system")
_BATCH = 100


async def delete_untagged(database: Database, registries: Sequence[Registry]) -> int:
    """Delete manifests whose time is over, each as a deletion that can be undone, and return how many.

    What an index has listed, or what was about a manifest, is without a tag once that is deleted: hence several times.
    """
    total = 0
    while deleted := await _delete_all(database, registries):
        total += deleted
    return total


async def estimate_untagged(database: Database, registries: Sequence[Registry]) -> list[int]:
    """Return the ids of the manifests that ``delete_untagged`` would delete now."""
    ids, found = [each.id for each in registries], list[int]()
    while rows := await database.fetch(_ESTIMATE_UNTAGGED_MANIFESTS, ids, found):
        found += [row["id"] for row in rows]
    return found


async def _delete_all(database: Database, registries: Sequence[Registry]) -> int:
    deleted, after = 0, 0
    ids = [each.id for each in registries]
    while found := await database.fetch(_FIND_UNTAGGED_MANIFESTS, ids, after, _BATCH):
        for row in found:
            deleted += await _delete(database, row)
        after = found[-1]["manifest_id"]
    return deleted


async def _delete(database: Database, row: asyncpg.Record) -> bool:
    registry = Registry(row["id"], row["public_id"], row["bucket"], row["generation"])
    repository, digest = RepositoryName(row["repository"]), Digest.parse(row["digest"])

    async def work(connection: Connection) -> bool:
        repository_id = await lock_repository(connection, registry, repository)
        if repository_id is None:
            return False
        manifest_id = await lock_living_manifest(connection, repository_id, digest)
        if manifest_id is None or not await connection.fetchval(_IS_UNTAGGED, manifest_id):
            return False
        await delete_living_manifest(connection, registry, repository, repository_id, manifest_id, digest, _SYSTEM)
        return True

    return await database.transact(work)
