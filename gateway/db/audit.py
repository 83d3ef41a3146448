"""The audit log, and how changes enter it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from gateway.db.statements import statement
from gateway.ports.audit import AuditRecord

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.db.pool import Connection, Database
    from gateway.model.access import Actor
    from gateway.ports.access import AuditEntry
    from gateway.ports.audit import AuditFilter

_INSERT_AUDIT_LINE = statement("insert_audit_line")
_ANNOUNCE_CHANGE = statement("announce_change")
_LIST_AUDIT_LINES = statement("list_audit_lines")
_DELETE_OLD_AUDIT_LINES = statement("delete_old_audit_lines")


class AuditLog:
    """Implements ports.audit.AuditIndex."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, lines: Sequence[tuple[Actor, AuditEntry]]) -> None:
        """See the port."""

        async def work(connection: Connection) -> None:
            for actor, entry in lines:
                await note_in_audit(connection, actor, entry)

        await self._database.transact(work)

    async def list(self, wanted: AuditFilter, before: int | None, limit: int) -> Sequence[AuditRecord]:
        """See the port."""
        rows = await self._database.fetch(
            _LIST_AUDIT_LINES,
            wanted.registry_ids,
            wanted.account,
            wanted.action,
            wanted.result,
            wanted.since,
            wanted.until,
            before,
            limit,
        )
        return [AuditRecord(**row) for row in rows]

    async def forget(self, days: int, limit: int) -> int:
        """See the port."""
        return len(await self._database.fetch(_DELETE_OLD_AUDIT_LINES, days, limit))


async def note_in_audit(connection: Connection, actor: Actor, entry: AuditEntry) -> None:
    """Add a line to the audit log, inside of the transaction that makes the change."""
    await connection.execute(
        _INSERT_AUDIT_LINE,
        actor.account_id,
        actor.account,
        actor.access_key_id,
        actor.address,
        entry.action,
        entry.registry_id,
        entry.registry,
        entry.object,
        entry.before,
        entry.after,
        entry.result,
        entry.count,
    )


async def note_change(connection: Connection, actor: Actor, entry: AuditEntry) -> None:
    """Add a line about a change of registries, accounts, keys or policies, and tell all processes of it."""
    await note_in_audit(connection, actor, entry)
    await connection.execute(_ANNOUNCE_CHANGE)


def as_json(values: Mapping[str, Any]) -> str:
    """Write down what something was or became."""
    return orjson.dumps(values).decode("utf-8")
