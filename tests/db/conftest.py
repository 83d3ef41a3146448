"""A database of its own for every test, on both servers: the embedded one and Debian's, in an en_US database."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

import pytest
from support.debian_postgres import running_debian_postgres
from support.postgres import create_database, running_postgres

from gateway.db.migrations import migrate
from gateway.db.pool import Database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

_TEMPLATE = "slipway_template"
_numbers = count(1)


@dataclass
class Server:
    """A Postgres server, and whether its template database is ready."""

    dsn: str
    has_template: bool = False


@pytest.fixture(scope="session", params=["embedded", "debian"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server for the whole session."""
    start = running_postgres if request.param == "embedded" else running_debian_postgres
    with start() as dsn:
        yield Server(dsn)


@pytest.fixture
async def database(server: Server) -> AsyncIterator[Database]:
    """A migrated database that nobody else uses: a copy of a template that is migrated once."""
    if not server.has_template:
        template = await create_database(server.dsn, _TEMPLATE)
        async with Database.connected(template, connections=1) as connected:
            await migrate(connected)
        server.has_template = True
    url = await create_database(server.dsn, f"test_{next(_numbers)}", _TEMPLATE)
    async with Database.connected(url, connections=4) as connected:
        yield connected
