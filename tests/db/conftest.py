"""A database of its own for every test, on both servers: the embedded one and Debian's, in an en_US database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.databases import Server, fresh_database
from support.debian_postgres import running_debian_postgres
from support.postgres import running_postgres

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from gateway.db.pool import Database


@pytest.fixture(scope="session", params=["embedded", "debian"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server for the whole session."""
    start = running_postgres if request.param == "embedded" else running_debian_postgres
    with start() as dsn:
        yield Server(dsn)


@pytest.fixture
async def database(server: Server) -> AsyncIterator[Database]:
    """A migrated database that nobody else uses."""
    async with fresh_database(server) as database:
        yield database
