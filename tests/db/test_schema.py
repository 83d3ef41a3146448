"""The schema, and every statement against it."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

import gateway
from gateway.db import migrations, pool
from gateway.db.migrations import Migration, all_migrations, check_migrated, migrate
from gateway.db.pool import Database
from gateway.db.registries import ensure_default_registry
from gateway.db.statements import all_statements
from gateway.errors import ConfigurationError
from support.databases import migrated_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.databases import Server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def untouched(server: Server) -> AsyncIterator[str]:
    """Address of a migrated database that no test changes."""
    async with migrated_database(server) as url:
        yield url


@pytest.mark.parametrize("name", sorted(all_statements()))
async def test_statement_fits_the_schema(untouched: str, name: str) -> None:
    """Postgres can prepare every named statement: tables, columns and types exist."""
    async with Database.connected(untouched, connections=1) as database, database.connection() as connection:
        prepared = await connection.prepare(all_statements()[name])

        assert prepared.get_query() == all_statements()[name]


def test_every_statement_is_loaded_in_one_place() -> None:
    """A statement is loaded by one module, under its own name, and used there."""
    sources = [file.read_text(encoding="utf-8") for file in Path(gateway.__file__).parent.rglob("*.py")]
    loading = re.compile(r'^_([A-Z_]+) = statement\("([a-z_]+)"\)', re.MULTILINE)
    loaded = [found for source in sources for found in loading.findall(source)]

    assert sorted(name for _, name in loaded) == sorted(all_statements())
    assert [variable for variable, name in loaded if variable != name.upper()] == []
    words = Counter(word for source in sources for word in re.findall(r"\w+", source))
    assert [name for variable, name in loaded if words[f"_{variable}"] < 2] == []


async def test_migrating_twice_changes_nothing(database: Database) -> None:
    """A program that starts on a migrated database leaves it alone."""
    before = await database.fetch("SELECT version, applied_at FROM schema_migrations")

    await migrate(database)

    assert await database.fetch("SELECT version, applied_at FROM schema_migrations") == before
    assert [row["version"] for row in before] == [migration.version for migration in all_migrations()]


async def test_a_long_migration_is_not_cut_off(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as an index of many rows, which takes longer than other statements may."""
    known = all_migrations()
    slow = Migration(len(known) + 1, "slow", 1, "SELECT pg_sleep(1.5)")
    async with migrated_database(server) as url:
        monkeypatch.setattr(migrations, "all_migrations", lambda: [*known, slow])
        monkeypatch.setattr(pool, "_SECONDS_PER_STATEMENT", 1.0)
        async with Database.connected(url, connections=1) as database:
            await migrate(database)

            await check_migrated(database)


async def test_a_migration_may_collide_with_those_who_serve(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two that wait for each other, Postgres ends one: if that is the migration, it begins anew."""
    known = all_migrations()
    sql = """
        DO $$ BEGIN IF nextval('attempts') < 3 THEN RAISE 'deadlock detected' USING ERRCODE = '40P01'; END IF; END $$
    """
    monkeypatch.setattr(migrations, "all_migrations", lambda: [*known, Migration(len(known) + 1, "unlucky", 1, sql)])
    # What a sequence has given out stays so.
    await database.execute("CREATE SEQUENCE attempts")

    await migrate(database)

    await check_migrated(database)


async def test_a_newer_schema_is_accepted_as_long_as_it_allows(database: Database) -> None:
    """A program that does not know the newest migration works on, while the migration says that it may."""
    known = len(all_migrations())
    await database.execute("INSERT INTO schema_migrations VALUES ($1, 'added_a_column', $2)", known + 1, known)

    await migrate(database)


async def test_a_schema_that_needs_a_newer_program_is_refused(database: Database) -> None:
    """A program is refused in one sentence when the schema has removed what it uses."""
    newer = len(all_migrations()) + 1
    await database.execute("INSERT INTO schema_migrations VALUES ($1, 'removed_a_column', $1)", newer)

    with pytest.raises(ConfigurationError, match=f"at least version {newer}"):
        await migrate(database)


async def test_a_schema_is_checked_without_changing_it(database: Database) -> None:
    """Only one that this program can work with as it is passes: not an older one, not none, not one too new."""
    await check_migrated(database)
    newest = len(all_migrations())
    await database.execute("INSERT INTO schema_migrations VALUES ($1, 'removed_a_column', $1)", newest + 1)
    with pytest.raises(ConfigurationError, match=f"at least version {newest + 1}"):
        await check_migrated(database)
    await database.execute("DELETE FROM schema_migrations WHERE version >= $1", newest)
    with pytest.raises(ConfigurationError, match="older schema"):
        await check_migrated(database)
    await database.execute("DROP TABLE schema_migrations")
    with pytest.raises(ConfigurationError, match="is empty"):
        await check_migrated(database)
    assert await database.fetch("SELECT FROM pg_class WHERE relname = 'schema_migrations'") == []


async def test_lists_are_in_ascii_order(database: Database) -> None:
    """Names sort by their bytes whatever the database's locale: capitals, then underscore, then small letters."""
    registry = await ensure_default_registry(database, "filesystem", "bucket")
    names = ["b", "a", "a-b", "a_b", "a.b", "a/b", "ab", "0"]
    for name in names:
        await database.execute("INSERT INTO repositories (registry_id, name) VALUES ($1, $2)", registry.id, name)

    rows = await database.fetch("SELECT name FROM repositories ORDER BY name")

    assert [row["name"] for row in rows] == sorted(names)


async def test_the_default_registry_is_made_once(database: Database) -> None:
    """Every start finds the registry that the first one has made, with its random id."""
    first = await ensure_default_registry(database, "filesystem", "bucket")

    assert await ensure_default_registry(database, "filesystem", "bucket") == first
    assert re.fullmatch(r"[0-9a-f]{32}", first.public_id)


async def test_the_default_registry_cannot_move(database: Database) -> None:
    """Naming another bucket does not lose the objects in the first one: it is refused."""
    await ensure_default_registry(database, "filesystem", "bucket")

    with pytest.raises(ConfigurationError, match="cannot move"):
        await ensure_default_registry(database, "filesystem", "other")
