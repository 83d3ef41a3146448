"""Objects that are to be removed from the storage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.db.statements import statement
from gateway.ports.metadata import Registry, RemovableObject
from gateway.ports.storage import Location

if TYPE_CHECKING:
    from gateway.db.pool import Database

_FETCH_REMOVING = statement("fetch_removing")
_RECORD_REMOVED = statement("record_removed")
_FORGET_OBJECT = statement("forget_object")


class Objects:
    """Implements ports.metadata.RemovalIndex."""

    def __init__(self, database: Database, storage: str) -> None:
        """Look after the objects of one storage, by its name."""
        self._database = database
        self._storage = storage

    async def fetch_removing(self, after: int, limit: int) -> list[RemovableObject]:
        """See the port."""
        return [
            RemovableObject(
                row["id"],
                Registry(row["registry_id"], row["public_id"], row["bucket"], row["generation"]),
                Location(row["bucket"], row["key"]),
                row["multipart_id"],
                row["size"],
                row["again"],
                row["is_left_behind"],
            )
            for row in await self._database.fetch(_FETCH_REMOVING, after, limit, self._storage)
        ]

    async def record_removed(self, object_id: int) -> bool:
        """See the port."""
        return await self._database.fetchrow(_RECORD_REMOVED, object_id) is not None

    async def forget_object(self, object_id: int) -> None:
        """See the port."""
        await self._database.execute(_FORGET_OBJECT, object_id)
