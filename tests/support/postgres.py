"""A real Postgres for tests: the embedded one, in a folder of its own, with a database for each asker."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from gateway.db.embedded import EmbeddedPostgres
from support.folders import open_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

_IN_MEMORY = Path("/dev/shm")


@contextmanager
def running_postgres() -> Iterator[str]:
    """Run a server as long as the context lasts, and give the address of its first database."""
    place = _IN_MEMORY if _IN_MEMORY.is_dir() else None
    with open_folder(place) as folder, EmbeddedPostgres.acquire(folder / "data") as postgres:
        yield postgres.dsn


async def create_database(dsn: str, name: str, template: str = "template1") -> str:
    """Make a database on the server of ``dsn`` and return its address."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    finally:
        await connection.close()
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))


async def drop_database(dsn: str, name: str) -> None:
    """Drop a database of the server of ``dsn``, whoever is still connected to it."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
    finally:
        await connection.close()


def new_database(dsn: str, name: str) -> str:
    """Make an empty database from outside of an event loop; see create_database."""
    return asyncio.run(create_database(dsn, name))
