"""Plans of the statements that every pull needs: however large the tables are, they are entered by index."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from gateway.db.coalesce import Lanes
from gateway.db.statements import all_statements

from .plans import nodes

if TYPE_CHECKING:
    from gateway.db.pool import Connection, Database

LOOKUPS = ("fetch_blobs", "fetch_manifests_by_digest", "fetch_manifests_by_tag", "fetch_manifest_contents")


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

    assert {node["Node Type"] for node in nodes(plan)} <= {"Nested Loop", "Function Scan", "Index Scan"}


# What collects is given: seconds, where to begin, registries, how many; or the ids of rows that are locked.
DUE = "604800, '-infinity', '{1}', 200"
IDS = "(SELECT array_agg(i) FROM generate_series(1, 200) i)"
COLLECTING = {
    "purge_deletions": DUE,
    "find_purgeable_manifests": DUE,
    "lock_blobs_of_manifests": IDS,
    "lock_purgeable_manifests": f"{IDS}, 604800",
    "purge_tags_of_manifests": IDS,
    "purge_manifests": IDS,
    "release_blobs": IDS,
    "purge_tags": DUE,
    "lock_unreferenced_blobs": DUE,
    "drop_unreferenced_blobs": IDS,
    "lock_deleted_blobs": DUE,
    "drop_deleted_blobs": IDS,
    "lock_blobs": IDS,
    "drop_blobs": IDS,
    "lock_empty_repositories": DUE,
}
LARGE = {"objects", "blobs", "repository_blobs", "manifests", "manifest_references", "tags", "deletions"}

# 40,000 of everything; a hundredth of it is due in some way.
FILL = """
INSERT INTO registries (public_id, name, storage, bucket) VALUES (repeat('0', 32), 'a', 'b', 'c');
INSERT INTO repositories (registry_id, name, deleted_at)
SELECT 1, 'r' || i, CASE WHEN i % 100 = 0 THEN now() - interval '9 days' END FROM generate_series(1, 2000) i;
INSERT INTO objects (registry_id, key, state, size) SELECT 1, 'k' || i, 'live', 1 FROM generate_series(1, 40000) i;
INSERT INTO blobs (registry_id, digest, size, object_id) SELECT 1, 'd' || i, 1, i FROM generate_series(1, 40000) i;
INSERT INTO repository_blobs (repository_id, blob_id, digest, unreferenced_since, deleted_at)
SELECT i % 2000 + 1, i, 'd' || i, CASE WHEN i % 100 = 0 THEN now() - interval '9 days' END,
       CASE WHEN i % 100 = 1 THEN now() - interval '9 days' END
FROM generate_series(1, 40000) i;
INSERT INTO deletions (registry_id, repository_id, kind, deleted_by, deleted_at)
SELECT 1, i % 2000 + 1, 'manifest', 'x', now() - make_interval(mins => i) FROM generate_series(1, 40000) i;
INSERT INTO manifests (repository_id, digest, media_type, kind, raw, deleted_at, deletion_id)
SELECT i % 2000 + 1, 'm' || i, 'x', 'image', '', CASE WHEN i % 100 = 2 THEN now() - interval '9 days' END, i
FROM generate_series(1, 40000) i;
INSERT INTO manifest_references (manifest_id, repository_id, child_digest, kind)
SELECT i, i % 2000 + 1, 'd' || i, 'layer' FROM generate_series(1, 40000) i;
INSERT INTO tags (repository_id, name, manifest_id, deleted_at, deletion_id)
SELECT i % 2000 + 1, 't' || i, i, CASE WHEN i % 100 = 2 THEN now() - interval '9 days' END, i
FROM generate_series(1, 40000) i;
ANALYZE
"""


def read_whole(plan: dict[str, Any]) -> set[str]:
    """Tables that a plan reads from end to end."""
    return {node["Relation Name"] for node in nodes(plan) if node["Node Type"] == "Seq Scan"}


async def test_collecting_reads_no_large_table_whole(database: Database) -> None:
    """Each statement of a round finds by index what is due, and what that depends on."""
    await database.execute(FILL)
    whole = {}
    async with database.connection() as connection:
        for name, arguments in COLLECTING.items():
            await connection.execute(f"PREPARE collecting AS {all_statements()[name]}")
            ids = await connection.fetchval(f"SELECT {IDS}") if IDS in arguments else None
            given = arguments.replace(IDS, "'{" + ",".join(map(str, ids or ())) + "}'")
            text: str = await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE collecting ({given})")
            await connection.execute("DEALLOCATE collecting")
            whole[name] = LARGE & read_whole(orjson.loads(text)[0]["Plan"])

    assert whole == {name: set() for name in COLLECTING}


async def test_whoever_deletes_a_row_finds_by_index_what_refers_to_it(database: Database) -> None:
    """Postgres looks for that itself, in no plan: for each row, in every table that has a foreign key to its table."""
    deleted_from = set(re.findall(r"\bDELETE FROM ([a-z_]+)", " ".join(all_statements().values())))
    rows = await database.fetch(
        """
        SELECT key.conname AS name, key.confrelid::regclass::text AS deleted_from
        FROM pg_constraint AS key
        WHERE key.contype = 'f'
          AND NOT EXISTS (
              SELECT
              FROM pg_index
              JOIN pg_attribute AS referring
                  ON referring.attrelid = key.conrelid AND referring.attnum = key.conkey[1]
              WHERE pg_index.indrelid = key.conrelid
                AND pg_index.indkey[0] = key.conkey[1]
                AND coalesce(pg_get_expr(pg_index.indpred, pg_index.indrelid), '') IN
                    ('', format('(%I IS NOT NULL)', referring.attname))
          )
        """
    )

    assert {"repositories", "objects", "blobs", "manifests", "upload_sessions"} <= deleted_from
    assert [row["name"] for row in rows if row["deleted_from"] in deleted_from] == []
