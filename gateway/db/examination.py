"""Whether a database is fit for Slipway, and reached in the way that it needs."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

import asyncpg

from gateway.db.migrations import check_migrated
from gateway.db.statements import statement
from gateway.errors import ConfigurationError, DatabaseUnavailable
from gateway.model.findings import Finding, Severity

if TYPE_CHECKING:
    from gateway.db.pool import Connection, Database

_FETCH_SERVER = statement("fetch_server")
_FETCH_BACKEND = statement("fetch_backend")
_NOTIFY_CHANNEL = statement("notify_channel")

_OLDEST_VERSION = 15
_SECONDS_TO_HEAR = 5.0
_POOLED = Finding(
    Severity.ERROR,
    "connection",
    "statements of one connection go to different sessions of the server, so that leases and changes are not heard of",
    "connect to Postgres itself, or to a pool in session mode",
)


async def examine_database(database: Database) -> list[Finding]:
    """Return what is wrong; takes two connections at the same time."""
    try:
        async with database.connection() as connection, database.connection() as another:
            found = await _server(connection)
            if not await _is_session(connection, another):
                found.append(_POOLED)
    except (asyncpg.PostgresError, DatabaseUnavailable) as error:
        # Pools that share sessions fail in many ways, each with a message of its own.
        return [
            Finding(Severity.ERROR, "connection", str(error), f"mend what it says; if it is a pool, {_POOLED.mend}")
        ]
    try:
        await check_migrated(database)
    except ConfigurationError as error:
        found.append(Finding(Severity.WARNING, "schema", str(error), "start `slipway serve`"))
    return found


async def _server(connection: Connection) -> list[Finding]:
    row = await connection.fetchrow(_FETCH_SERVER)
    assert row is not None
    found = []
    if row["version"] // 10000 < _OLDEST_VERSION:
        reason = f"Postgres {row['version'] // 10000} is too old"
        found.append(Finding(Severity.ERROR, "version", reason, f"upgrade to Postgres {_OLDEST_VERSION} or newer"))
    if row["encoding"] != "UTF8":
        reason = f"the database is in {row['encoding']}, and names and manifests are UTF-8"
        mend = "create a database with ENCODING 'UTF8' TEMPLATE template0"
        found.append(Finding(Severity.ERROR, "encoding", reason, mend))
    if row["is_read_only"]:
        reason = "it can only be read, so that pushes get 503"
        mend = "unset default_transaction_read_only, which a service may have set because its disk is full"
        found.append(Finding(Severity.ERROR, "writing", reason, mend))
    return found


async def _is_session(connection: Connection, another: Connection) -> bool:
    """Whether a connection keeps its session: notifications arrive, and it stays with one server process."""
    heard, channel = asyncio.Event(), f"slipway_doctor_{secrets.token_hex(8)}"

    def hear(*_: object) -> None:
        heard.set()

    before = await connection.fetchval(_FETCH_BACKEND)
    await connection.add_listener(channel, hear)
    try:
        async with another.transaction():
            # Holds a session, which may be the one that a pool has just lent to the other connection.
            await another.execute(_NOTIFY_CHANNEL, channel)
            after = await connection.fetchval(_FETCH_BACKEND)
        async with asyncio.timeout(_SECONDS_TO_HEAR):
            await heard.wait()
    except TimeoutError:
        return False
    finally:
        await connection.remove_listener(channel, hear)
    return bool(before == after)
