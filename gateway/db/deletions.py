"""Deleting images, and lists of what was deleted.

A deletion is a row; what went with it has its id. Nothing leaves the database here: deleted manifests hold their
references, and so their blobs, until they are purged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg

from gateway.db.audit import as_json, note_in_audit
from gateway.db.repositories import note_deletion
from gateway.db.restoring import Deleted, list_tags_of, restore
from gateway.db.statements import statement
from gateway.errors import DatabaseUnavailable, NothingKnown, RepositoryUnknown
from gateway.model.images import DeletedKind
from gateway.ports.access import AuditEntry
from gateway.ports.images import Deletion

if TYPE_CHECKING:
    from gateway.db.pool import Connection, Database
    from gateway.model.access import Actor
    from gateway.model.names import RepositoryName
    from gateway.ports.images import Restored
    from gateway.ports.metadata import Registry

_LOCK_IMAGE = statement("lock_image")
_DELETE_IMAGE = statement("delete_image")
_DELETE_MANIFESTS_OF_IMAGE = statement("delete_manifests_of_image")
_DELETE_TAGS_OF_IMAGE = statement("delete_tags_of_image")
_LIST_DELETIONS = statement("list_deletions")
_LOCK_DELETION = statement("lock_deletion")
_FINISH_DELETION = statement("finish_deletion")

_MORE_THAN_ANY = 2**63 - 1
_ATTEMPTS = 5


class Deletions:
    """Implements ports.images.DeletionIndex."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def delete_image(self, actor: Actor, registry: Registry, repository: RepositoryName) -> None:
        """See the port."""

        async def work(connection: Connection) -> None:
            repository_id = await connection.fetchval(_LOCK_IMAGE, registry.id, str(repository))
            if repository_id is None:
                raise RepositoryUnknown(f"there is no image {repository}")
            deletion_id = await note_deletion(connection, registry, repository_id, actor, DeletedKind.IMAGE)
            await connection.execute(_DELETE_MANIFESTS_OF_IMAGE, repository_id, deletion_id)
            await connection.execute(_DELETE_TAGS_OF_IMAGE, repository_id, deletion_id)
            await connection.execute(_DELETE_IMAGE, repository_id, deletion_id)
            before = as_json({"tags": await list_tags_of(connection, deletion_id)})
            await note_in_audit(
                connection, actor, AuditEntry("image.delete", str(repository), registry.id, before=before)
            )

        await self._database.transact(work)

    async def list_deletions(self, registry: Registry, days: int, before: int | None, limit: int) -> list[Deletion]:
        """See the port."""
        last = _MORE_THAN_ANY if before is None else before
        rows = await self._database.fetch(_LIST_DELETIONS, registry.id, days, last, limit)
        return [Deletion(**{**row, "kind": DeletedKind(row["kind"])}) for row in rows]

    async def restore(self, actor: Actor, registry: Registry, deletion_id: int, days: int) -> Restored:
        """See the port."""

        async def work(connection: Connection) -> Restored:
            row = await connection.fetchrow(_LOCK_DELETION, deletion_id, registry.id, days)
            if row is None:
                raise NothingKnown(f"there is nothing deleted with the number {deletion_id} that could be restored")
            deleted = Deleted(**{**row, "kind": DeletedKind(row["kind"])})
            came_back = await restore(connection, registry, deleted)
            await connection.execute(_FINISH_DELETION, deletion_id)
            await note_in_audit(connection, actor, _entry(registry, came_back))
            return came_back

        for _ in range(_ATTEMPTS):
            try:
                return await self._database.transact(work)
            except asyncpg.UniqueViolationError:
                # Somebody has taken a name, or pushed the same manifest, at this very moment: now it is seen.
                continue
        raise DatabaseUnavailable("the names that are to be restored are taken again and again")


def _entry(registry: Registry, restored: Restored) -> AuditEntry:
    name = restored.image
    if restored.kind is DeletedKind.TAG:
        name = f"{restored.image}:{restored.tag}"
    elif restored.kind is DeletedKind.MANIFEST:
        name = f"{restored.image}@{restored.digest}"
    after = as_json({"outcome": restored.outcome, "left_out": restored.left_out})
    return AuditEntry(f"{restored.kind}.restore", name, registry.id, after=after)
