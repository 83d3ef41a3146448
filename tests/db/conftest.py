"""A database of its own for every test, on both servers: the embedded one and Debian's, in an en_US database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.databases import Server, fresh_database
from support.debian_postgres import running_debian_postgres

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from gateway.db.pool import Database


@pytest.fixture(scope="session")
def debian_server() -> Iterator[Server]:
    """Debian's Postgres."""
    with running_debian_postgres() as postgres:
        yield Server(postgres.dsn)


@pytest.fixture(scope="session", params=["embedded", "debian"])
def server(request: pytest.FixtureRequest) -> Server:
    """A server; every test runs on both."""
    found = request.getfixturevalue(f"{request.param}_server")
    assert isinstance(found, Server)
    return found


@pytest.fixture
async def database(server: Server) -> AsyncIterator[Database]:
    """A migrated database that nobody else uses."""
    async with fresh_database(server) as database:
        yield database
