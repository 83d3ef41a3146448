"""Upload sessions that have expired, and what is left of finished ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.db.statements import statement
from gateway.db.uploads import end_uploads
from gateway.ports.metadata import Registry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.db.pool import Connection, Database

_LIST_REGISTRIES_TO_SWEEP = statement("list_registries_to_sweep")
_LOCK_EXPIRED_UPLOADS = statement("lock_expired_uploads")
_COUNT_EXPIRED_UPLOADS = statement("count_expired_uploads")
_DELETE_EXPIRED_TOMBSTONES = statement("delete_expired_tombstones")


class Sweeping:
    """Implements ports.collection.SweepIndex."""

    def __init__(self, database: Database, storage: str) -> None:
        """Look after the uploads to one storage, by its name."""
        self._database = database
        self._storage = storage

    async def list_expired(self, *, left_behind: bool) -> list[Registry]:
        """See the port."""
        rows = await self._database.fetch(_LIST_REGISTRIES_TO_SWEEP, self._storage, left_behind)
        return [Registry(**row) for row in rows]

    async def count_expired(self, registries: Sequence[Registry]) -> int:
        """See the port."""
        row = await self._database.fetchrow(_COUNT_EXPIRED_UPLOADS, [each.id for each in registries])
        assert row is not None
        return int(row[0])

    async def end_expired(self, registry: Registry, limit: int) -> int:
        """See the port."""

        async def work(connection: Connection) -> int:
            rows = await connection.fetch(_LOCK_EXPIRED_UPLOADS, registry.id, limit)
            # In a statement of its own: what a session stored until it was locked is seen by it.
            await end_uploads(connection, [row["id"] for row in rows])
            return len(rows)

        return await self._database.transact(work)

    async def forget_tombstones(self, limit: int) -> int:
        """See the port."""
        return len(await self._database.fetch(_DELETE_EXPIRED_TOMBSTONES, limit))
