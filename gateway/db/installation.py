"""The installation as a whole: what this database belongs to."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from gateway.db.statements import statement

if TYPE_CHECKING:
    from gateway.db.pool import Database

_INSERT_INSTALLATION = statement("insert_installation")
_FETCH_INSTALLATION = statement("fetch_installation")


async def ensure_installation(database: Database) -> str:
    """Return the installation's random id of 128 bits, drawing it when the database is new."""
    row = await database.fetchrow(_FETCH_INSTALLATION)
    if row is None:
        await database.execute(_INSERT_INSTALLATION, secrets.token_hex(16))
        row = await database.fetchrow(_FETCH_INSTALLATION)
    assert row is not None
    public_id: str = row["public_id"]
    return public_id
