"""What the database server allows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.db.statements import statement

if TYPE_CHECKING:
    from gateway.db.pool import Database

_FETCH_CONNECTION_LIMIT = statement("fetch_connection_limit")


async def fetch_connection_limit(database: Database) -> int:
    """Return how many connections the server grants to all its users together."""
    row = await database.fetchrow(_FETCH_CONNECTION_LIMIT)
    assert row is not None
    return int(row[0])
