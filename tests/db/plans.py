"""What Postgres plans to do for a statement, in databases that are filled once and that no test changes."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson

from gateway.db.pool import Database
from gateway.db.statements import all_statements
from support.databases import migrated_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from support.databases import Server

BY_INDEX = {"Index Scan", "Index Only Scan", "Bitmap Heap Scan"}
"""The ways to read a table that do not take longer the larger it is."""


@asynccontextmanager
async def filled_database(server: Server, rows: str) -> AsyncIterator[str]:
    """Make a database with rows of which Postgres knows how many there are, and give its address."""
    async with migrated_database(server) as url:
        async with Database.connected(url, connections=1) as database:
            await database.execute(f"{rows}; ANALYZE")
        yield url


async def explain(url: str, name: str, arguments: str) -> dict[str, Any]:
    """Return the plan of a statement."""
    async with Database.connected(url, connections=1) as database, database.connection() as connection:
        await connection.execute(f"PREPARE explained AS {all_statements()[name]}")
        text: str = await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE explained ({arguments})")
    plan: dict[str, Any] = orjson.loads(text)[0]["Plan"]
    return plan


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Return a plan with everything below it."""
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def scans(plan: dict[str, Any]) -> set[str]:
    """Return in which ways a plan reads tables."""
    return {node["Node Type"] for node in nodes(plan) if "Relation Name" in node}
