"""What a check of the database finds, on real servers and behind a real pool."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import asyncpg
import pytest

from gateway.db.examination import examine_database
from gateway.db.pool import Database
from gateway.model.findings import Severity
from support.databases import migrated_database
from support.pgbouncer import running_pgbouncer
from support.postgres import create_database

if TYPE_CHECKING:
    from support.databases import Server


async def test_a_fit_database_has_no_findings(database: Database) -> None:
    """Migrated, and reached directly."""
    assert await examine_database(database) == []


async def test_an_empty_database(server: Server) -> None:
    """Nothing is wrong: nobody has started yet."""
    url = await create_database(server.dsn, "empty_for_doctor")
    async with Database.connected(url, connections=2) as database:
        (only,) = await examine_database(database)

    assert (only.severity, only.what) == (Severity.WARNING, "schema")


async def test_another_encoding(server: Server) -> None:
    """Names and manifests are UTF-8."""
    connection = await asyncpg.connect(server.dsn)
    try:
        await connection.execute(
            "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE_PROVIDER libc LOCALE 'C' TEMPLATE template0"
        )
    finally:
        await connection.close()
    url = urlsplit(server.dsn)._replace(path="/latin").geturl()
    async with Database.connected(url, connections=2) as database:
        found = await examine_database(database)

    assert [(each.severity, each.what) for each in found if each.what != "schema"] == [(Severity.ERROR, "encoding")]


async def test_a_database_that_can_only_be_read(server: Server) -> None:
    """Pushes would be refused."""
    async with migrated_database(server) as url:
        name = urlsplit(url).path[1:]
        connection = await asyncpg.connect(server.dsn)
        try:
            await connection.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        finally:
            await connection.close()
        async with Database.connected(url, connections=2) as database:
            (only,) = await examine_database(database)

    assert (only.severity, only.what) == (Severity.ERROR, "writing")


@pytest.mark.parametrize(("mode", "errors"), [("session", []), ("transaction", ["connection"])])
async def test_pools(debian_server: Server, mode: str, errors: list[str]) -> None:
    """One that lends sessions for a transaction only is found out; one that lends them for longer does."""
    with running_pgbouncer(debian_server.dsn, mode) as url:
        async with Database.connected(url, connections=2) as database:
            found = await examine_database(database)

    assert [each.what for each in found if each.severity is Severity.ERROR] == errors
