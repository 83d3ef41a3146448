"""Plans of the statements that every pull needs: however large the tables are, they are entered by index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from gateway.db.coalesce import Lanes
from gateway.db.statements import all_statements

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.db.pool import Connection, Database

LOOKUPS = ("fetch_blobs", "fetch_manifests_by_digest", "fetch_manifests_by_tag", "fetch_manifest_contents")


def nodes(plan: dict[str, Any]) -> Iterator[str]:
    yield plan["Node Type"]
    for child in plan.get("Plans", ()):
        yield from nodes(child)


async def explain(connection: Connection, name: str) -> dict[str, Any]:
    """Return the plan for keys that Postgres does not know when it plans."""
    await connection.execute(f"PREPARE lookup AS {all_statements()[name]}")
    nothing = ", ".join(["NULL"] * (3 if "$3" in all_statements()[name] else 1))
    text: str = await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE lookup ({nothing})")
    await connection.execute("DEALLOCATE lookup")
    plan: dict[str, Any] = orjson.loads(text)[0]["Plan"]
    return plan


@pytest.mark.parametrize("filled", [False, True], ids=["empty", "filled"])
@pytest.mark.parametrize("name", LOOKUPS)
async def test_a_lookup_enters_every_table_by_index(database: Database, name: str, *, filled: bool) -> None:
    """Even in a database that is empty yet, where a plan that reads whole tables would look cheaper and stay."""
    if filled:
        await database.execute(
            "INSERT INTO registries (public_id, name, storage, bucket) VALUES (repeat('0', 32), 'a', 'b', 'c');"
            "INSERT INTO repositories (registry_id, name) SELECT 1, 'r' || i FROM generate_series(1, 1000) i;"
            "ANALYZE"
        )
    async with database.connection() as connection:
        await Lanes.prepare(connection)
        plan = await explain(connection, name)

    assert set(nodes(plan)) <= {"Nested Loop", "Function Scan", "Index Scan"}
