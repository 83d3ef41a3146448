"""What surveys compare with buckets, and what they have found out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.db.audit import note_in_audit
from gateway.db.statements import statement
from gateway.model.keys import objects_of
from gateway.model.surveys import Affected
from gateway.ports.access import AuditEntry
from gateway.ports.surveys import ObjectRow

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from gateway.db.pool import Connection, Database
    from gateway.model.access import Actor
    from gateway.ports.metadata import Registry

_LIST_OBJECT_ROWS = statement("list_object_rows")
_FETCH_OBJECT_ROWS = statement("fetch_object_rows")
_COUNT_OBJECTS = statement("count_objects")
_BEGIN_VERIFICATION = statement("begin_verification")
_SUM_VERIFICATION = statement("sum_verification")
_LIST_UNVERIFIED = statement("list_unverified")
_RECORD_VERIFIED = statement("record_verified")
_END_VERIFICATION = statement("end_verification")
_LIST_AFFECTED = statement("list_affected")
_WITHDRAW_BLOB = statement("withdraw_blob")
_READMIT_BLOB = statement("readmit_blob")


class Surveys:
    """Implements ports.surveys.SurveyIndex."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_object_rows(self, registry: Registry, after: str, limit: int) -> list[ObjectRow]:
        """See the port."""
        begin, end = _between(registry, after)
        return [ObjectRow(**row) for row in await self._database.fetch(_LIST_OBJECT_ROWS, begin, end, limit)]

    async def fetch_object_rows(self, keys: Collection[str]) -> dict[str, ObjectRow]:
        """See the port."""
        rows = await self._database.fetch(_FETCH_OBJECT_ROWS, list(keys))
        return {row["key"]: ObjectRow(**row) for row in rows}

    async def count_objects(self, registry: Registry) -> int:
        """See the port."""
        row = await self._database.fetchrow(_COUNT_OBJECTS, *_between(registry, ""))
        assert row is not None
        return int(row["count"])

    async def begin_verification(self, registry: Registry) -> datetime:
        """See the port."""
        row = await self._database.fetchrow(_BEGIN_VERIFICATION, registry.id)
        assert row is not None
        begun_at: datetime = row["begun_at"]
        return begun_at

    async def sum_verification(self, registry: Registry, begun_at: datetime) -> tuple[int, int]:
        """See the port."""
        row = await self._database.fetchrow(_SUM_VERIFICATION, registry.id, begun_at)
        assert row is not None
        return row["size"], row["verified"]

    async def list_unverified(self, registry: Registry, begun_at: datetime, after: str, limit: int) -> list[ObjectRow]:
        """See the port."""
        begin, end = _between(registry, after)
        rows = await self._database.fetch(_LIST_UNVERIFIED, begin, end, begun_at, limit)
        return [ObjectRow(**row) for row in rows]

    async def record_verified(self, key: str, *, is_damaged: bool) -> None:
        """See the port."""
        await self._database.execute(_RECORD_VERIFIED, key, is_damaged)

    async def end_verification(self, registry: Registry, begun_at: datetime) -> None:
        """See the port."""
        await self._database.execute(_END_VERIFICATION, registry.id, begun_at)

    async def fetch_affected(self, registry: Registry, digest: str) -> Affected:
        """See the port."""
        rows = await self._database.fetch(_LIST_AFFECTED, registry.id, digest)
        return Affected(
            repositories=tuple(dict.fromkeys(row["repository"] for row in rows)),
            tags=tuple(f"{row['repository']}:{tag}" for row in rows for tag in row["tags"]),
            manifests=tuple(f"{row['repository']}@{row['manifest']}" for row in rows if row["manifest"]),
        )

    async def withdraw_blob(self, actor: Actor, key: str) -> bool:
        """See the port."""
        return await self._change(_WITHDRAW_BLOB, actor, "blob.withdraw", key)

    async def readmit_blob(self, actor: Actor, key: str) -> bool:
        """See the port."""
        return await self._change(_READMIT_BLOB, actor, "blob.readmit", key)

    async def _change(self, query: str, actor: Actor, action: str, key: str) -> bool:
        async def work(connection: Connection) -> bool:
            row = await connection.fetchrow(query, key)
            if row is None:
                return False
            await note_in_audit(connection, actor, AuditEntry(action, row["digest"], row["registry_id"]))
            return True

        return await self._database.transact(work)


def _between(registry: Registry, after: str) -> tuple[str, str]:
    """Return what keys of a registry's objects lie between, from behind ``after`` on."""
    folder = objects_of(registry.public_id)
    # The zero is the next character after the slash.
    return max(after, folder), f"{folder[:-1]}0"
