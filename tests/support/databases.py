"""Migrated databases, each a copy of a template that is migrated once for each server."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from gateway.db.migrations import migrate
from gateway.db.pool import Database
from support.postgres import create_database, drop_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_TEMPLATE = "slipway_template"
_numbers = count(1)


@dataclass
class Server:
    """A Postgres server, and whether its template database is ready."""

    dsn: str
    has_template: bool = False


@asynccontextmanager
async def migrated_database(server: Server) -> AsyncIterator[str]:
    """Make a migrated database that nobody else uses, and drop it in the end."""
    if not server.has_template:
        template = await create_database(server.dsn, _TEMPLATE)
        async with Database.connected(template, connections=1) as connected:
            await migrate(connected)
        server.has_template = True
    name = f"test_{next(_numbers)}"
    url = await create_database(server.dsn, name, _TEMPLATE)
    try:
        yield url
    finally:
        # They lie in memory, a dozen megabytes each, and there are more tests than memory for all of them.
        await drop_database(server.dsn, name)


@asynccontextmanager
async def fresh_database(server: Server) -> AsyncIterator[Database]:
    """Make a migrated database that nobody else uses, connect to it, and drop it in the end."""
    async with migrated_database(server) as url, Database.connected(url, connections=8) as connected:
        yield connected
