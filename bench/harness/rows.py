"""A large registry in a moment: rows written by SQL into the database of a Slipway that has just been started."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg

from bench.harness.registry import MANIFEST_TYPE
from gateway.db.embedded import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Filled:
    """Addresses of what was written."""

    by_tag: list[str]
    by_digest: list[str]
    blobs: list[str]


# Row i of each table has the id i: nothing else has been written yet. Repository 1 + (i - 1) mod n holds row i; since
# n divides the number of blobs, a manifest's config and layer lie in its own repository. The objects do not exist in
# the storage: these blobs can be asked for and presigned, but not read.
_STATEMENTS = (
    "SET session_replication_role = replica",  # no checks of foreign keys, which would take most of the time
    "SET synchronous_commit = off",
    """CREATE FUNCTION pg_temp.blob_digest(i bigint) RETURNS text IMMUTABLE LANGUAGE sql
       RETURN 'sha256:' || encode(sha256(convert_to('blob ' || i, 'UTF8')), 'hex')""",
    """CREATE FUNCTION pg_temp.config_of(i bigint) RETURNS text IMMUTABLE LANGUAGE sql
       RETURN pg_temp.blob_digest((i - 1) % {blobs} + 1)""",
    """CREATE FUNCTION pg_temp.layer_of(i bigint) RETURNS text IMMUTABLE LANGUAGE sql
       RETURN pg_temp.blob_digest((i - 1 + {repositories}) % {blobs} + 1)""",
    """CREATE FUNCTION pg_temp.raw(i bigint) RETURNS bytea IMMUTABLE LANGUAGE sql RETURN convert_to(json_build_object(
           'schemaVersion', 2,
           'mediaType', '{type}',
           'config', json_build_object('mediaType', 'application/vnd.oci.image.config.v1+json',
               'digest', pg_temp.config_of(i), 'size', {size}),
           'layers', json_build_array(json_build_object('mediaType', 'application/vnd.oci.image.layer.v1.tar+gzip',
               'digest', pg_temp.layer_of(i), 'size', {size})),
           'annotations', json_build_object('number', i::text))::text, 'UTF8')""",
    """INSERT INTO repositories (id, registry_id, name) OVERRIDING SYSTEM VALUE
       SELECT i, {registry}, 'bench/r' || i FROM generate_series(1, {repositories}) i""",
    """INSERT INTO objects (id, registry_id, key, state, size) OVERRIDING SYSTEM VALUE
       SELECT i, {registry}, 'bench/' || i, 'live', {size} FROM generate_series(1, {blobs}) i""",
    """INSERT INTO blobs (id, registry_id, digest, size, object_id) OVERRIDING SYSTEM VALUE
       SELECT i, {registry}, pg_temp.blob_digest(i), {size}, i FROM generate_series(1, {blobs}) i""",
    """INSERT INTO repository_blobs (repository_id, blob_id, digest, unreferenced_since)
       SELECT (id - 1) % {repositories} + 1, id, digest, NULL FROM blobs""",
    """INSERT INTO manifests (id, repository_id, digest, media_type, kind, raw) OVERRIDING SYSTEM VALUE
       SELECT i, (i - 1) % {repositories} + 1, 'sha256:' || encode(sha256(raw), 'hex'), '{type}', 'image', raw
       FROM (SELECT i, pg_temp.raw(i) AS raw FROM generate_series(1, {manifests}) i OFFSET 0) made""",
    """INSERT INTO manifest_references (manifest_id, repository_id, child_digest, kind)
       SELECT i, (i - 1) % {repositories} + 1, pg_temp.config_of(i), 'config' FROM generate_series(1, {manifests}) i
       UNION ALL
       SELECT i, (i - 1) % {repositories} + 1, pg_temp.layer_of(i), 'layer' FROM generate_series(1, {manifests}) i""",
    """INSERT INTO tags (repository_id, name, manifest_id)
       SELECT (i - 1) % {repositories} + 1, 't' || i, i FROM generate_series(1, {tags}) i""",
    *(
        f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) FROM {table}"
        for table in ("repositories", "objects", "blobs", "manifests")
    ),
    "VACUUM ANALYZE",
    "CHECKPOINT",
)


def fill(data_dir: Path, *, blobs: int, manifests: int, tags: int, repositories: int, blob_size: int = 1234) -> Filled:
    """Write the rows into the embedded database of a data directory, and return addresses in random order."""
    assert not blobs % repositories, "config and layer of a manifest have to fall into its repository"
    assert tags <= manifests
    numbers = {"blobs": blobs, "manifests": manifests, "tags": tags, "repositories": repositories, "size": blob_size}
    with EmbeddedPostgres.acquire(data_dir) as postgres:
        return asyncio.run(_fill(postgres.dsn, numbers))


async def _fill(dsn: str, numbers: dict[str, int]) -> Filled:
    connection = await asyncpg.connect(dsn)
    try:
        registry = await connection.fetchval("SELECT id FROM registries WHERE is_default AND deleted_at IS NULL")
        for statement in _STATEMENTS:
            await connection.execute(statement.format(registry=registry, type=MANIFEST_TYPE, **numbers))
        return Filled(
            by_tag=await _addresses(connection, "tags", "manifests", "name"),
            by_digest=await _addresses(connection, "manifests", "manifests", "digest"),
            blobs=await _addresses(connection, "repository_blobs", "blobs", "digest"),
        )
    finally:
        await connection.close()


# What pages show of an image is known once it was shown; here the objects do not exist that it would be read from.
_FIGURES = (
    "UPDATE manifests SET content_size = 2 * 1234, platforms = ARRAY['linux/amd64']",
    """INSERT INTO repository_pulls (repository_id, registry_id, pulls, last_pulled_at)
       SELECT id, registry_id, id * 7919 % 10007, now() - id * interval '1 minute' FROM repositories
       ON CONFLICT (repository_id) DO UPDATE SET pulls = excluded.pulls, last_pulled_at = excluded.last_pulled_at""",
    """INSERT INTO manifest_pulls (manifest_id, pulls, last_pulled_at)
       SELECT id, id % 1000, now() - id * interval '1 minute' FROM manifests""",
    """INSERT INTO tag_resolutions (tag_id, resolutions, last_pulled_at)
       SELECT id, 1, now() - id * interval '1 minute' FROM tags""",
    """INSERT INTO pull_history (repository_id, starts_at, span, manifest_id, key_id, pulls)
       SELECT r.id, date_trunc('day', now(), 'UTC') - day * interval '1 day', 24, 0, 0, 1 + day % 10
       FROM (SELECT id FROM repositories ORDER BY id LIMIT 100) r, generate_series(1, 90) day""",
    "UPDATE repositories SET changed_at = now() - id * interval '1 minute'",
    "UPDATE tags SET pushed_at = now() - id * interval '1 minute'",
    "VACUUM ANALYZE",
)


def add_figures(data_dir: Path) -> None:
    """Write what pages show beside names: sizes, platforms, dates and pulls; after fill."""
    with EmbeddedPostgres.acquire(data_dir) as postgres:
        asyncio.run(_execute(postgres.dsn, _FIGURES))


async def _execute(dsn: str, statements: Sequence[str]) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def _addresses(connection: asyncpg.Connection[asyncpg.Record], table: str, kind: str, column: str) -> list[str]:
    rows = await connection.fetch(
        f"SELECT '/v2/' || r.name || '/{kind}/' || t.{column} AS address "
        f"FROM {table} t JOIN repositories r ON r.id = t.repository_id ORDER BY random() LIMIT 100000"
    )
    return [row["address"] for row in rows]
