"""Schema migrations: forward only, while older programs are still serving.

Files are ``sql/migrations/NNNN_name.sql``; the first line names the oldest program that still works with the schema,
as the highest migration that program knew. A program is refused only when it is older than that. Each migration is
one transaction together with its record.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.db.coalesce import COLLISIONS
from gateway.db.statements import sql_folder
from gateway.errors import ConfigurationError

if TYPE_CHECKING:
    from gateway.db.pool import Connection, Database

_FILE = re.compile(r"([0-9]{4})_([a-z0-9_]+)\.sql")
_OLDEST = re.compile(r"-- oldest_program: ([0-9]+)\n")
_SECONDS_BETWEEN_TRIES = 0.2
_ATTEMPTS = 10
_SECONDS_PER_MIGRATION = 86400.0
"""As long as an index of many rows may take: it would only begin anew with the next start."""

_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version        integer PRIMARY KEY,
    name           text NOT NULL,
    oldest_program integer NOT NULL,
    applied_at     timestamptz NOT NULL DEFAULT now()
)
"""
# Polled, never waited for: a session that blocks on an advisory lock deadlocks with CREATE INDEX CONCURRENTLY.
_TRY_LOCK = "SELECT pg_try_advisory_lock(hashtextextended('slipway migrations', 0))"
_UNLOCK = "SELECT pg_advisory_unlock(hashtextextended('slipway migrations', 0))"


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema."""

    version: int
    name: str
    oldest_program: int
    sql: str


def all_migrations() -> list[Migration]:
    """Read the migrations that this program knows, in order."""
    found = []
    for file in sorted((sql_folder() / "migrations").glob("*.sql")):
        name = _FILE.fullmatch(file.name)
        sql = file.read_text(encoding="utf-8")
        oldest = _OLDEST.match(sql)
        if name is None or oldest is None:
            raise RuntimeError(f"{file.name} is not named NNNN_name.sql, or does not begin with -- oldest_program: N")
        found.append(Migration(int(name[1]), name[2], int(oldest[1]), sql))
    if [migration.version for migration in found] != list(range(1, len(found) + 1)):
        raise RuntimeError("migrations must be numbered from 1 without gaps")
    return found


async def migrate(database: Database) -> None:
    """Bring the schema to what this program knows; raise ConfigurationError when it is too old for the schema."""
    async with database.connection() as connection:
        while not await connection.fetchval(_TRY_LOCK):  # noqa: ASYNC110  (the event is in another process)
            await asyncio.sleep(_SECONDS_BETWEEN_TRIES)
        try:
            await connection.execute(_TABLE)
            await _apply(connection, all_migrations())
        finally:
            await connection.execute(_UNLOCK)


async def check_migrated(database: Database, known: list[Migration] | None = None) -> None:
    """Raise ConfigurationError unless the schema is one that this program can work with as it is.

    ``known`` saves reading the migrations again.
    """
    known = all_migrations() if known is None else known
    async with database.connection() as connection:
        if await connection.fetchval("SELECT to_regclass('schema_migrations')") is None:
            raise ConfigurationError("the database is empty: start `slipway serve` once, which prepares it")
        applied = await _applied(connection, known)
    if applied < len(known):
        raise ConfigurationError("the database has an older schema: start this version of `slipway serve` first")


async def _apply(connection: Connection, known: list[Migration]) -> None:
    for migration in known[await _applied(connection, known) :]:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                await _take(connection, migration)
                break
            except COLLISIONS:
                # It locks several tables, in another order than those who serve meanwhile; nothing of it has remained.
                if attempt == _ATTEMPTS:
                    raise


async def _take(connection: Connection, migration: Migration) -> None:
    async with connection.transaction():
        await connection.execute(migration.sql, timeout=_SECONDS_PER_MIGRATION)
        await connection.execute(
            "INSERT INTO schema_migrations (version, name, oldest_program) VALUES ($1, $2, $3)",
            migration.version,
            migration.name,
            migration.oldest_program,
        )


async def _applied(connection: Connection, known: list[Migration]) -> int:
    """Return how many migrations the schema has seen; raise ConfigurationError when it needs a newer program."""
    rows = await connection.fetch("SELECT version, oldest_program FROM schema_migrations")
    oldest = max((row["oldest_program"] for row in rows), default=0)
    if len(known) < oldest:
        raise ConfigurationError(
            f"this program knows the database schema up to version {len(known)}, but the database needs a program "
            f"that knows at least version {oldest}: install a newer slipway",
        )
    return max((row["version"] for row in rows), default=0)
