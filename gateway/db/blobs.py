"""Which repository holds which blobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.db.audit import note_in_audit
from gateway.db.repositories import ensure_repository
from gateway.db.statements import statement
from gateway.errors import BlobUnknown, StillReferenced
from gateway.ports.access import AuditEntry
from gateway.ports.metadata import BlobRecord

if TYPE_CHECKING:
    from gateway.db.pool import Connection, Database
    from gateway.model.access import Actor
    from gateway.model.digest import Digest
    from gateway.model.names import RepositoryName
    from gateway.ports.metadata import Registry

_FETCH_BLOBS = statement("fetch_blobs")
_FIND_MOUNT_SOURCE = statement("find_mount_source")
_LOCK_MOUNT = statement("lock_mount")
_UPSERT_REPOSITORY_BLOB = statement("upsert_repository_blob")
_PROMISE_BLOB = statement("promise_blob")
_LOCK_REPOSITORY_BLOB = statement("lock_repository_blob")
_FETCH_BLOB_REFERRER = statement("fetch_blob_referrer")
_DELETE_REPOSITORY_BLOB = statement("delete_repository_blob")


class Blobs:
    """Implements ports.metadata.BlobIndex."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._by_digest = database.lanes.lookup(_FETCH_BLOBS)

    async def fetch_blob(self, registry: Registry, repository: RepositoryName, digest: Digest) -> BlobRecord:
        """See the port."""
        row = await self._by_digest.find(registry.id, str(repository), str(digest))
        if row is None:
            raise _unknown(repository, digest)
        return BlobRecord(digest, row["size"], row["key"], row["unreferenced_for"])

    async def promise_blob(self, registry: Registry, repository: RepositoryName, digest: Digest) -> None:
        """See the port."""
        if await self._database.fetchrow(_PROMISE_BLOB, registry.id, str(repository), str(digest)) is None:
            raise _unknown(repository, digest)

    async def mount_blob(
        self, registry: Registry, repository: RepositoryName, digest: Digest, source: RepositoryName | None
    ) -> bool:
        """See the port."""

        async def work(connection: Connection) -> bool:
            origin = str(source) if source else await _find_mount_source(connection, registry, repository, digest)
            if origin is None:
                return False
            names = [str(repository), origin]
            rows = await connection.fetch(_LOCK_MOUNT, registry.id, names, str(digest))
            blob_id = next((row["blob_id"] for row in rows if row["name"] == origin), None)
            if blob_id is None:
                return False
            repository_id = await ensure_repository(connection, registry, repository)
            await insert_repository_blob(connection, repository_id, blob_id, digest)
            return True

        return await self._database.transact(work)

    async def delete_blob(self, registry: Registry, repository: RepositoryName, digest: Digest, actor: Actor) -> None:
        """See the port."""

        async def work(connection: Connection) -> None:
            row = await lock_repository_blob(connection, registry, repository, digest)
            if row is None:
                raise _unknown(repository, digest)
            blob_id, repository_id = row
            referrer = await connection.fetchval(_FETCH_BLOB_REFERRER, repository_id, str(digest))
            if referrer is not None:
                raise StillReferenced(f"manifest {referrer} needs this blob: delete the manifest first")
            await connection.execute(_DELETE_REPOSITORY_BLOB, blob_id)
            await note_in_audit(connection, actor, AuditEntry("blob.delete", f"{repository}@{digest}", registry.id))

        await self._database.transact(work)


async def _find_mount_source(
    connection: Connection, registry: Registry, repository: RepositoryName, digest: Digest
) -> str | None:
    found: str | None = await connection.fetchval(_FIND_MOUNT_SOURCE, registry.id, str(digest), str(repository))
    return found


async def insert_repository_blob(connection: Connection, repository_id: int, blob_id: int, digest: Digest) -> None:
    """Make a blob one of a repository, inside of the caller's transaction, which keeps the blob's row alive."""
    await connection.execute(_UPSERT_REPOSITORY_BLOB, repository_id, blob_id, str(digest))


async def lock_repository_blob(
    connection: Connection, registry: Registry, repository: RepositoryName, digest: Digest
) -> tuple[int, int] | None:
    """Lock a living blob of a repository; return the ids of that row and of the repository."""
    row = await connection.fetchrow(_LOCK_REPOSITORY_BLOB, registry.id, str(repository), str(digest))
    return None if row is None else (row["id"], row["repository_id"])


def _unknown(repository: RepositoryName, digest: Digest) -> BlobUnknown:
    return BlobUnknown(f"repository {repository} has no blob {digest}")
