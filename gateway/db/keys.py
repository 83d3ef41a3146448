"""Access keys, as logins and requests need them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.db.pool import rows_of
from gateway.db.statements import statement
from gateway.model.access import AccessKey, Account, Action, Grant, Role, SecretHash

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import asyncpg

    from gateway.db.pool import Connection, Database

_FETCH_ACCESS_KEY = statement("fetch_access_key")
_RECORD_KEY_USES = statement("record_key_uses")


class Keys:
    """Implements ports.access.KeyIndex."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def fetch_key(self, access_key_id: str) -> AccessKey | None:
        """See the port."""
        row = await self._database.fetchrow(_FETCH_ACCESS_KEY, access_key_id)
        return None if row is None else _key(access_key_id, row)

    async def record_uses(self, uses: Sequence[tuple[int, datetime, str]]) -> None:
        """See the port."""

        async def work(connection: Connection) -> None:
            await connection.execute(_RECORD_KEY_USES, *rows_of(uses, 3))

        await self._database.transact(work)


def _key(access_key_id: str, row: asyncpg.Record) -> AccessKey:
    grants = tuple(Grant(Role(role), registry_id) for role, registry_id in row["grants"])
    actions, repositories = row["actions"], row["repositories"]
    return AccessKey(
        id=row["id"],
        access_key_id=access_key_id,
        account=Account(row["account_id"], row["account"], row["is_root"], grants),
        secrets=tuple(SecretHash(*secret) for secret in row["secrets"]),
        actions=None if actions is None else frozenset(map(Action, actions)),
        repositories=None if repositories is None else tuple(repositories),
        disabled=row["disabled"],
        expires_at=row["expires_at"],
    )
