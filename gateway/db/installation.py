"""The installation as a whole: its id, and what it begins with."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import asyncpg

from gateway.db.access_keys import add_first_key
from gateway.db.sealed import insert_first_pepper, insert_signing_key, seal_values
from gateway.db.statements import statement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.db.pool import Connection, Database
    from gateway.model.access import SecretHash
    from gateway.ports.access import Beginning, Sealed

_LOCK_BOOTSTRAP = statement("lock_bootstrap")
_INSERT_INSTALLATION = statement("insert_installation")
_FETCH_INSTALLATION = statement("fetch_installation")
_FETCH_ROOT = statement("fetch_root")
_INSERT_ROOT = statement("insert_root")

# No key is newer than any other when there is none.
_EVER = datetime(1, 1, 1, tzinfo=UTC)


class Installation:
    """Implements ports.access.InstallationIndex."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, beginning: Beginning) -> str:
        """See the port."""

        async def work(connection: Connection) -> str:
            await lock_bootstrap(connection)
            await connection.execute(_INSERT_INSTALLATION, beginning.public_id)
            await insert_first_pepper(connection, beginning.pepper)
            await insert_signing_key(connection, beginning.signing_key, unless_newer_than=_EVER)
            return str(await connection.fetchval(_FETCH_INSTALLATION))

        return await self._database.transact(work)

    async def create_root(self, access_key_id: str, secret: SecretHash) -> bool:
        """See the port."""

        async def work(connection: Connection) -> bool:
            await lock_bootstrap(connection)
            if await connection.fetchrow(_FETCH_ROOT) is not None:
                return False
            account_id = await connection.fetchval(_INSERT_ROOT)
            await add_first_key(connection, account_id, access_key_id, secret)
            return True

        return await self._database.transact(work)

    async def has_root(self) -> bool:
        """See the port."""
        return await self._database.fetchrow(_FETCH_ROOT) is not None

    async def seal(self, peppers: Sequence[Sealed], signing_keys: Sequence[Sealed]) -> None:
        """See the port."""

        async def work(connection: Connection) -> None:
            await seal_values(connection, peppers, signing_keys)

        await self._database.transact(work)


async def fetch_installation(database: Database) -> str | None:
    """Return the installation's id, None before the first start of this version."""
    try:
        row = await database.fetchrow(_FETCH_INSTALLATION)
    except asyncpg.UndefinedTableError:
        return None
    return None if row is None else str(row["public_id"])


async def lock_bootstrap(connection: Connection) -> None:
    """Let only one process at a time prepare an empty database, until the caller's transaction ends."""
    await connection.execute(_LOCK_BOOTSTRAP)
