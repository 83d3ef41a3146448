"""Images that were pushed before there were figures, descriptions and deletions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gateway.db.images import Images
from gateway.db.migrations import all_migrations, migrate
from gateway.db.pool import Database
from gateway.db.registries import ensure_default_registry
from gateway.model.images import ImageOrder
from gateway.model.names import RepositoryName
from support.postgres import create_database

if TYPE_CHECKING:
    from support.databases import Server


async def test_they_have_changed_when_they_were_pushed_last(server: Server) -> None:
    """And they are listed, with tags that may be moved, as before."""
    url = await create_database(server.dsn, "before_images")
    async with Database.connected(url, connections=2) as database:
        for migration in all_migrations()[:3]:
            await database.execute(migration.sql)
        await database.execute(
            "CREATE TABLE schema_migrations (version integer PRIMARY KEY, name text NOT NULL, oldest_program integer "
            "NOT NULL, applied_at timestamptz NOT NULL DEFAULT now());"
            "INSERT INTO schema_migrations SELECT number, 'before', 1 FROM generate_series(1, 3) number"
        )
        registry = await ensure_default_registry(database, "filesystem:/x", "default")
        await database.execute(
            f"""
            INSERT INTO repositories (registry_id, name, created_at)
            SELECT {registry.id}, name, '2025-01-01Z' FROM unnest('{{a,b,c}}'::text[]) AS made (name);
            INSERT INTO manifests (repository_id, digest, media_type, kind, raw, created_at)
            SELECT id, 'd', 'm', 'image', '', '2025-02-01Z' FROM repositories WHERE name <> 'c';
            INSERT INTO tags (repository_id, name, manifest_id, pushed_at)
            SELECT repository_id, 't', manifests.id, '2025-03-01Z'
            FROM manifests JOIN repositories ON repositories.id = repository_id WHERE repositories.name = 'b'
            """
        )

        await migrate(database)

        images = Images(database)
        found = await images.list_images(registry, "", ImageOrder.CHANGED, None, 10)
        assert [(each.name, each.changed_at) for each in found] == [
            ("b", datetime(2025, 3, 1, tzinfo=UTC)),
            ("a", datetime(2025, 2, 1, tzinfo=UTC)),
        ]
        assert (await images.fetch_image(registry, RepositoryName("b"))).tags_mutable is True
        never_filled = await images.fetch_image(registry, RepositoryName("c"))
        assert never_filled.image.changed_at == datetime(2025, 1, 1, tzinfo=UTC)
