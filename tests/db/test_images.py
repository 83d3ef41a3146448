"""Images in the database: pages in every order, search, figures, and what they cost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import pytest_asyncio

from gateway.db.images import Images
from gateway.db.registries import ensure_default_registry
from gateway.errors import ChangedMeanwhile, ManifestUnknown, RepositoryUnknown
from gateway.model.access import Actor
from gateway.model.digest import Digest
from gateway.model.images import ImageOrder, TagOrder
from gateway.model.names import RepositoryName
from gateway.ports.images import ImageRecord, Place, TagRecord

from .plans import BY_INDEX, explain, filled_database, nodes, scans

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.db.pool import Database
    from gateway.ports.metadata import Registry
    from support.databases import Server

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ACTOR = Actor(None, "alice", address="127.0.0.1")
APP = RepositoryName("app")


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


@pytest.fixture
async def registry(database: Database) -> Registry:
    """Repositories app, app-b, web and empty; app has tags of an index of two images that share a layer."""
    registry = await ensure_default_registry(database, "filesystem:/x", "default")
    blobs = ", ".join(f"({number}, '{digest(number)}', {10**number})" for number in range(1, 5))
    await database.execute(
        f"""
        INSERT INTO repositories (registry_id, name, changed_at, short_description)
        SELECT {registry.id}, name, '{NOW}'::timestamptz - days * interval '1 day', name || '!'
        FROM (VALUES ('app', 3), ('app-b', 1), ('web', 2), ('empty', 0)) AS made (name, days);
        INSERT INTO repository_pulls (repository_id, registry_id, pulls)
        SELECT id, registry_id, CASE name WHEN 'app' THEN 5 WHEN 'web' THEN 9 ELSE 0 END FROM repositories;
        INSERT INTO manifests (repository_id, digest, media_type, kind, raw, pushed_by)
        SELECT repositories.id, 'sha256:' || repeat(made.name, 64), 'm', made.kind, '', 'bob'
        FROM repositories, (VALUES ('a', 'image'), ('b', 'image'), ('c', 'index')) AS made (name, kind)
        WHERE repositories.name <> 'empty'
        ORDER BY repositories.name, made.name;
        INSERT INTO objects (registry_id, key, state, size)
        SELECT {registry.id}, number::text, 'live', size FROM (VALUES {blobs}) AS made (number, digest, size);
        INSERT INTO blobs (registry_id, digest, size, object_id)
        SELECT {registry.id}, digest, made.size, objects.id
        FROM (VALUES {blobs}) AS made (number, digest, size) JOIN objects ON key = number::text;
        INSERT INTO repository_blobs (repository_id, blob_id, digest)
        SELECT repositories.id, blobs.id, digest FROM blobs, repositories WHERE repositories.name = 'app';
        INSERT INTO manifest_references (manifest_id, repository_id, child_digest, kind)
        SELECT manifests.id, repository_id, made.child, made.kind
        FROM (VALUES ('a', '{digest(1)}', 'config'), ('a', '{digest(3)}', 'layer'), ('a', '{digest(9)}', 'layer'),
                     ('b', '{digest(2)}', 'config'), ('b', '{digest(3)}', 'layer'), ('b', '{digest(3)}', 'config'),
                     ('c', 'sha256:' || repeat('a', 64), 'child'), ('c', 'sha256:' || repeat('b', 64), 'child'))
             AS made (parent, child, kind)
        JOIN manifests ON manifests.digest = 'sha256:' || repeat(made.parent, 64);
        INSERT INTO tags (repository_id, name, manifest_id, pushed_at, pushed_by)
        SELECT repositories.id, made.name, manifests.id, '{NOW}'::timestamptz - days * interval '1 day', 'bob'
        FROM (VALUES ('v1', 'a', 3), ('V2', 'b', 1), ('multi', 'c', 2)) AS made (name, manifest, days)
        JOIN repositories ON repositories.name = 'app'
        JOIN manifests ON manifests.repository_id = repositories.id
            AND manifests.digest = 'sha256:' || repeat(made.manifest, 64);
        INSERT INTO manifest_pulls SELECT id, 2, '{NOW}' FROM manifests WHERE kind = 'image';
        INSERT INTO tag_resolutions SELECT id, 4, '{NOW}' FROM tags WHERE name = 'v1';
        """
    )
    return registry


def image_key(order: ImageOrder, record: ImageRecord) -> Place:
    key: dict[ImageOrder, Any] = {
        ImageOrder.NAME: record.name,
        ImageOrder.CHANGED: record.changed_at,
        ImageOrder.PULLS: record.pulls,
    }
    return Place(key[order], record.id)


def tag_key(order: TagOrder, record: TagRecord) -> Place:
    key: dict[TagOrder, Any] = {
        TagOrder.NAME: record.name,
        TagOrder.PUSHED: record.pushed_at,
        TagOrder.PULLED: record.last_pulled_at or datetime(1970, 1, 1, tzinfo=UTC),
    }
    return Place(key[order], record.id)


@pytest.mark.parametrize("limit", [1, 2, 10])
@pytest.mark.parametrize(
    ("order", "search", "names"),
    [
        (ImageOrder.NAME, "", ["app", "app-b", "web"]),
        (ImageOrder.CHANGED, "", ["app-b", "web", "app"]),
        (ImageOrder.PULLS, "", ["web", "app", "app-b"]),
        (ImageOrder.NAME, "P-", ["app-b"]),
        (ImageOrder.PULLS, "APP", ["app", "app-b"]),
        (ImageOrder.CHANGED, "%", []),
        (ImageOrder.NAME, "empty", []),
    ],
)
async def test_images_come_page_by_page(
    database: Database, registry: Registry, order: ImageOrder, search: str, names: list[str], limit: int
) -> None:
    """In every order, whatever the size of a page; those without a manifest are not images yet."""
    images, found, after = Images(database), list[ImageRecord](), None
    while page := await images.list_images(registry, search, order, after, limit):
        assert len(page) <= limit
        found += page
        after = image_key(order, page[-1])

    assert [each.name for each in found] == names
    assert all(each.short_description == f"{each.name}!" for each in found)
    assert {each.name: each.tags for each in found} == {name: 3 if name == "app" else 0 for name in names}


@pytest.mark.parametrize("limit", [1, 2, 10])
@pytest.mark.parametrize(
    ("order", "search", "names"),
    [
        (TagOrder.NAME, "", ["V2", "multi", "v1"]),
        (TagOrder.PUSHED, "", ["V2", "multi", "v1"]),
        (TagOrder.PULLED, "", ["v1", "multi", "V2"]),
        (TagOrder.NAME, "v", ["V2", "v1"]),
        (TagOrder.PULLED, "V", ["v1", "V2"]),
    ],
)
async def test_tags_come_page_by_page(
    database: Database, registry: Registry, order: TagOrder, search: str, names: list[str], limit: int
) -> None:
    """In every order; what was never pulled comes last."""
    images, found, after = Images(database), list[TagRecord](), None
    while page := await images.list_tags(registry, APP, search, order, after, limit):
        assert len(page) <= limit
        found += page
        after = tag_key(order, page[-1])

    assert sorted(each.name for each in found) == sorted(names)
    if limit > 1 or order is not TagOrder.PULLED:
        assert [each.name for each in found] == names


async def test_figures_of_tags(database: Database, registry: Registry) -> None:
    """Each blob counts once, what nobody has pushed does not; an index is the sum of its images, as are its pulls."""
    tags = {each.name: each for each in await Images(database).list_tags(registry, APP, "", TagOrder.NAME, None, 10)}

    assert {name: each.size for name, each in tags.items()} == {"v1": 1010, "V2": 1100, "multi": 2110}
    assert {name: each.pulls for name, each in tags.items()} == {"v1": 2, "V2": 2, "multi": 4}
    assert [(each.resolutions, each.last_pulled_at) for each in tags.values()] == [(0, None), (0, None), (4, NOW)]
    assert tags["multi"].kind == "index"
    assert tags["multi"].digest == "sha256:" + "c" * 64
    assert tags["multi"].pushed_by == "bob"


async def test_sizes_are_kept(database: Database, registry: Registry) -> None:
    """What was measured once is read from the row."""
    images = Images(database)
    await images.list_tags(registry, APP, "", TagOrder.NAME, None, 10)

    kept = await database.fetch("SELECT kind, content_size FROM manifests WHERE content_size IS NOT NULL ORDER BY id")

    assert [tuple(row) for row in kept] == [("image", 1010), ("image", 1100), ("index", 2110)]
    await database.execute("UPDATE manifests SET content_size = 7")
    assert {each.size for each in await images.list_tags(registry, APP, "", TagOrder.NAME, None, 10)} == {7}


async def test_manifests_are_listed_backwards(database: Database, registry: Registry) -> None:
    """The last pushed first; untagged are those that neither a tag names nor an index lists."""
    images = Images(database)
    everything = await images.list_manifests(registry, APP, None, 10, untagged=False)
    await database.execute("UPDATE tags SET deleted_at = now() WHERE name <> 'v1'")

    untagged = await images.list_manifests(registry, APP, None, 10, untagged=True)

    assert [(each.digest[-1], each.tags) for each in everything] == [("c", ("multi",)), ("b", ("V2",)), ("a", ("v1",))]
    assert [each.digest[-1] for each in untagged] == ["c"]
    first = everything[0].manifest_id
    assert [each.digest[-1] for each in await images.list_manifests(registry, APP, first, 1, untagged=False)] == ["b"]
    await database.execute("UPDATE manifests SET deleted_at = now() WHERE kind = 'index'")
    assert [each.digest[-1] for each in await images.list_manifests(registry, APP, None, 9, untagged=True)] == ["b"]


async def test_an_image_in_detail(database: Database, registry: Registry) -> None:
    """Its size is that of all blobs that its living manifests need, each once."""
    images = Images(database)

    detail = await images.fetch_image(registry, APP)
    await database.execute("UPDATE manifests SET deleted_at = now() WHERE digest LIKE '%b'")
    later = await images.fetch_image(registry, APP)

    assert (detail.image.name, detail.image.tags, detail.image.pulls) == ("app", 3, 5)
    assert (detail.description, detail.tags_mutable, detail.version) == ("", True, 1)
    assert (detail.size, later.size) == (1110, 1010)


async def test_what_is_not_there(database: Database, registry: Registry) -> None:
    """Nothing is found of an image or a manifest that does not exist."""
    images, nowhere = Images(database), RepositoryName("nowhere")

    with pytest.raises(RepositoryUnknown):
        await images.fetch_image(registry, nowhere)
    with pytest.raises(RepositoryUnknown):
        await images.list_tags(registry, nowhere, "", TagOrder.NAME, None, 1)
    with pytest.raises(RepositoryUnknown):
        await images.list_manifests(registry, nowhere, None, 1, untagged=False)
    with pytest.raises(RepositoryUnknown):
        await images.update_image(ACTOR, registry, nowhere, {}, None)
    with pytest.raises(ManifestUnknown):
        await images.fetch_figures(4711)


async def test_a_description_is_changed_by_one_person_at_a_time(database: Database, registry: Registry) -> None:
    """A change counts the version up and is audited; who has read an older version is refused; no change is none."""
    images = Images(database)

    await images.update_image(ACTOR, registry, APP, {"description": "# App", "tags_mutable": False}, 1)
    with pytest.raises(ChangedMeanwhile):
        await images.update_image(ACTOR, registry, APP, {"short_description": "x"}, 1)
    await images.update_image(ACTOR, registry, APP, {"description": "# App"}, 2)

    detail = await images.fetch_image(registry, APP)
    assert (detail.description, detail.tags_mutable, detail.version) == ("# App", False, 2)
    assert detail.image.short_description == "app!"
    assert detail.image.changed_at > NOW
    lines = await database.fetch("SELECT account, action, object, before, after FROM audit_log")
    assert [tuple(row)[:3] for row in lines] == [("alice", "image.update", "app")]
    assert orjson.loads(lines[0]["before"]) == {"description": "", "tags_mutable": True}
    assert orjson.loads(lines[0]["after"]) == {"description": "# App", "tags_mutable": False}


async def test_platforms_are_kept(database: Database, registry: Registry) -> None:
    """Each manifest has as many as it has, none included."""
    images = Images(database)
    c, b, a = (each.manifest_id for each in await images.list_manifests(registry, APP, None, 3, untagged=False))

    await images.record_platforms({a: ["linux/amd64"], b: [], c: ["linux/amd64", "linux/arm/v7"]})
    await images.record_platforms({a: ["overwritten"]})

    found = [each.platforms for each in await images.list_manifests(registry, APP, None, 3, untagged=False)]
    assert found == [("linux/amd64", "linux/arm/v7"), (), ("linux/amd64",)]
    assert await images.fetch_configs([a, c]) == {a: Digest.parse(digest(1))}


MANY = """
INSERT INTO registries (public_id, name, storage, bucket) VALUES (repeat('0', 32), 'a', 'b', 'c');
INSERT INTO repositories (registry_id, name, changed_at)
SELECT 1, 'r' || i, now() - i * interval '1 minute' FROM generate_series(1, 5000) i;
INSERT INTO repository_pulls SELECT i, 1, i % 1000, now() FROM generate_series(1, 5000) i;
INSERT INTO manifests (repository_id, digest, media_type, kind, raw)
SELECT i % 50 + 1, 'd' || i, 'm', CASE WHEN i % 3 = 0 THEN 'index' ELSE 'image' END, ''
FROM generate_series(1, 10000) i;
INSERT INTO manifests (repository_id, digest, media_type, kind, raw)
SELECT i, 'd', 'm', 'image', '' FROM generate_series(1, 5000) i;
INSERT INTO manifest_references SELECT i, i % 50 + 1, 'd' || i - 50, 'child' FROM generate_series(1, 10000) i;
INSERT INTO manifest_pulls SELECT i, i, now() FROM generate_series(1, 10000) i;
INSERT INTO tags (repository_id, name, manifest_id, pushed_at)
SELECT i % 50 + 1, 't' || i, i, now() - i * interval '1 minute' FROM generate_series(1, 10000) i;
INSERT INTO tag_resolutions SELECT i, i, now() FROM generate_series(1, 10000) i;
INSERT INTO deletions (registry_id, repository_id, kind, deleted_by)
SELECT 1, i, 'image', 'a' FROM generate_series(1, 5000) i
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def many(server: Server) -> AsyncIterator[str]:
    """Address of a database with many images, tags and manifests."""
    async with filled_database(server, MANY) as url:
        yield url


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("page_images_by_name", "1, '', 'r', 0, 50"),
        ("page_images_by_changed", "1, '', now(), 0, 50"),
        ("page_images_by_pulls", "1, '', 500, 0, 50"),
        ("describe_images", "'{1,2,3}'"),
        ("fetch_image", "1, 'r77'"),
        ("page_tags_by_name", "7, '', '', 0, 50"),
        ("page_tags_by_pushed", "7, '', now(), 0, 50"),
        ("page_tags_by_pulled", "7, '', now(), 0, 50"),
        ("describe_tags", "'{1,2,3}'"),
        ("page_manifests", "7, 10000, 50"),
        ("page_untagged_manifests", "7, 10000, 50"),
        ("describe_manifests", "'{1,2,3}'"),
        ("fetch_config_digests", "'{1,2,3}'"),
    ],
)
async def test_what_is_shown_is_read_by_index(many: str, name: str, arguments: str) -> None:
    """However many images, tags and manifests there are."""
    found = scans(await explain(many, name, arguments))

    assert found
    assert found <= BY_INDEX


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("page_images_by_name", "1, '', 'r', 0, 50"),
        ("page_images_by_changed", "1, '', now(), 0, 50"),
        ("page_tags_by_name", "7, '', '', 0, 5"),
        ("page_tags_by_pushed", "7, '', now(), 0, 5"),
        ("page_manifests", "7, 10000, 5"),
    ],
)
async def test_a_page_is_read_in_its_order(many: str, name: str, arguments: str) -> None:
    """From where the page before has ended, without sorting what is not shown."""
    assert "Sort" not in {node["Node Type"] for node in nodes(await explain(many, name, arguments))}


async def test_times_differ_in_lists(database: Database, registry: Registry) -> None:
    """The place behind an entry is exact to the microsecond."""
    images = Images(database)
    await database.execute("UPDATE repositories SET changed_at = $1", NOW + timedelta(microseconds=1))

    page = await images.list_images(registry, "", ImageOrder.CHANGED, None, 2)
    rest = await images.list_images(registry, "", ImageOrder.CHANGED, image_key(ImageOrder.CHANGED, page[-1]), 2)

    assert len({each.id for each in [*page, *rest]}) == 3
