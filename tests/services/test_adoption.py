"""Taking registries over from their buckets: every image comes back, in another installation as well."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from gateway.db.catalogue import Catalogue
from gateway.db.registries import RegistryRows
from gateway.errors import (
    AlreadyTaken,
    BlobUnknown,
    CatalogueUnwritten,
    StorageUnavailable,
    ValueRefused,
)
from gateway.model.catalogue import catalogue_prefix
from gateway.model.digest import Digest
from gateway.model.endpoints import Delivery, DeliveryRule
from gateway.model.names import RepositoryName, Tag
from gateway.model.networks import Networks
from gateway.ports.directory import RegistryChange
from gateway.ports.images import ImageChange
from gateway.ports.storage import Location
from gateway.services.adoption import Adoption
from gateway.services.catalogue import Standing
from gateway.services.markers import Markers, State
from support.databases import Server, fresh_database

from .conftest import ACTOR, COUNTERS, REPOSITORY, Process, Storage, open_process
from .test_catalogue import read_object
from .test_images import images_of
from .test_manifests import CONFIG, LAYER, image, index, push_blobs, push_manifest
from .test_registries import managing, mark, marker, new_bucket  # noqa: F401  (a fixture)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.services.registries import Registries

OTHER = RepositoryName("team/other")
_names = count(1)


@dataclass
class Installation:
    """A database of its own, and one process on it."""

    name: str
    registries: Registries
    process: Process

    async def adopt(self, bucket: str, **options: Any) -> None:
        made = await self.registries.create(ACTOR, "team", bucket, adopt=True, **options)
        self.process.registry = made.registry

    async def leave(self) -> None:
        await self.registries.delete(ACTOR, "team")

    async def living(self) -> dict[str, str]:
        """What each tag of REPOSITORY points at; all that is referred to can be pulled."""
        process = self.process
        page = await process.manifests.tags(process.registry, REPOSITORY, "", None)
        found = {name: await process.manifests.find(process.registry, REPOSITORY, Tag(name)) for name in page.names}
        for each in found.values():
            assert Digest.of(await process.manifests.content(each)) == each.digest
        return {name: str(each.digest) for name, each in found.items()}


Install = Callable[[], Awaitable[Installation]]


@pytest.fixture
async def install(embedded_server: Server, storage: Storage) -> AsyncIterator[Install]:
    """Return a function that makes an installation on the storage."""
    async with AsyncExitStack() as stack:

        async def make() -> Installation:
            database = await stack.enter_async_context(fresh_database(embedded_server))
            name = f"installation{next(_names)}"
            return Installation(name, managing(database, storage, name), await open_process(stack, database, storage))

        yield make


@pytest.fixture
async def ours(install: Install, new_bucket: Callable[[], str]) -> Installation:  # noqa: F811
    """An installation with a registry that has an image, settings, and things that were deleted."""
    made = await install()
    process = made.process
    process.registry = (await made.registries.create(ACTOR, "team", new_bucket())).registry
    await push_blobs(process, CONFIG, LAYER)
    await push_manifest(process, image("1"), "v1", "latest")
    await push_manifest(process, image("2"), "v2")
    await push_manifest(process, index(image("1"), image("2")), "all")
    await images_of(process).delete_reference(ACTOR, process.registry, REPOSITORY, Tag("v2"))
    change = ImageChange(short_description="short", description="# long", tags_mutable=False, untagged_days=30)
    await images_of(process).update(ACTOR, process.registry, REPOSITORY, change, None)
    return made


SETTINGS = RegistryChange(
    public_endpoint=False,
    public_pull=True,
    public_networks=Networks.parse(["192.0.2.0/24"]),
    private_networks=Networks.parse(["10.0.0.0/8"]),
    private_delivery=Delivery.PROXY,
    delivery_rules=(DeliveryRule.parse("10.1.0.0/16=proxy"),),
)


async def everything(process: Process) -> list[tuple[Any, ...]]:
    """Everything that is known of a registry's images, without ids of rows."""
    found: list[tuple[Any, ...]] = []
    for query in (
        """SELECT name, created_at, deleted_at, short_description, description, tags_mutable, untagged_days,
                  deletion_id IS NULL
           FROM repositories WHERE registry_id = $1""",
        """SELECT r.name, d.kind, d.tag, d.digest, d.deleted_at, d.deleted_by, d.restored_at
           FROM deletions d JOIN repositories r ON r.id = d.repository_id WHERE d.registry_id = $1""",
        """SELECT b.digest, b.size, o.key, o.state, b.created_at, b.withdrawn_at
           FROM blobs b JOIN objects o ON o.id = b.object_id WHERE b.registry_id = $1""",
        """SELECT r.name, m.digest, m.media_type, m.kind, m.raw, m.subject_digest, m.artifact_type, m.annotations,
                  m.pushed_by, m.created_at, m.deleted_at, (SELECT deleted_at FROM deletions WHERE id = m.deletion_id),
                  ARRAY(SELECT c.kind || c.child_digest FROM manifest_references c
                        WHERE c.manifest_id = m.id AND c.repository_id = r.id ORDER BY 1)
           FROM manifests m JOIN repositories r ON r.id = m.repository_id WHERE r.registry_id = $1""",
        """SELECT r.name, t.name, m.digest, t.created_at, t.pushed_at, t.pushed_by, t.deleted_at,
                  (SELECT deleted_at FROM deletions WHERE id = t.deletion_id)
           FROM tags t JOIN manifests m ON m.id = t.manifest_id JOIN repositories r ON r.id = t.repository_id
           WHERE r.registry_id = $1""",
        """SELECT r.name, x.digest, b.digest, x.created_at, x.deleted_at, x.unreferenced_since IS NULL
           FROM repository_blobs x JOIN blobs b ON b.id = x.blob_id JOIN repositories r ON r.id = x.repository_id
           WHERE r.registry_id = $1""",
        "SELECT pulls FROM repository_pulls WHERE registry_id = $1",
    ):
        rows = await process.database.fetch(query, process.registry.id)
        found += sorted((tuple(row) for row in rows), key=repr)
    return found


async def list_keys(process: Process, prefix: str) -> list[str]:
    pages = [page async for page in process.storage.port.list_objects(process.registry.bucket, prefix)]
    return [each.key for page in pages for each in page]


async def test_another_installation_brings_everything_back(ours: Installation, install: Install) -> None:
    """Images byte for byte with all their dates, descriptions, what was deleted, and the registry's settings."""
    await ours.registries.update(ACTOR, "team", SETTINGS, None)
    before, bucket = await everything(ours.process), ours.process.registry.bucket
    tags = await ours.living()
    await ours.leave()
    theirs = await install()

    await theirs.adopt(bucket)

    assert theirs.process.registry.public_id == ours.process.registry.public_id
    assert theirs.process.registry.generation == 2
    assert await everything(theirs.process) == before
    assert await theirs.living() == tags
    assert await theirs.process.content(Digest.of(LAYER)) == LAYER
    found = await theirs.registries.get("team")
    assert {name: getattr(found, name) for name in SETTINGS} == SETTINGS
    found_marker = await marker(theirs.process.storage, bucket)
    assert (found_marker.installation, found_marker.state) == (theirs.name, State.LIVING)


async def test_an_image_has_changed_when_it_had(ours: Installation, install: Install) -> None:
    """At the last push or deletion: its own date is written when something else of it is."""
    process = ours.process
    await push_manifest(process, image("9"), "v9")
    before = (await images_of(process).get(process.registry, REPOSITORY)).image.changed_at
    pushed = await process.database.fetchrow("SELECT max(pushed_at) FROM tags")
    assert pushed is not None
    await ours.leave()
    theirs = await install()

    await theirs.adopt(process.registry.bucket)

    found = await images_of(theirs.process).get(theirs.process.registry, REPOSITORY)
    assert pushed[0] <= found.image.changed_at <= before


async def test_what_was_deleted_can_be_restored_afterwards(ours: Installation, install: Install) -> None:
    """As if nothing had happened in between."""
    await ours.leave()
    theirs = await install()
    await theirs.adopt(ours.process.registry.bucket)
    process = theirs.process

    images = images_of(process)
    (deleted,) = await images.deleted(process.registry, None, 10)
    await images.restore(ACTOR, process.registry, deleted.deletion.id)

    assert (await theirs.living())["v2"] == str(Digest.of(image("2")))


async def test_it_goes_on_and_comes_home(ours: Installation, install: Install) -> None:
    """What others have pushed and deleted is there when it is taken back; what one has remembered is not believed."""
    bucket = ours.process.registry.bucket
    await ours.leave()
    theirs = await install()
    await theirs.adopt(bucket)
    await push_manifest(theirs.process, image("3"), "v3")
    await images_of(theirs.process).delete_reference(ACTOR, theirs.process.registry, REPOSITORY, Tag("v1"))
    tags, known = await theirs.living(), await everything(theirs.process)
    await theirs.leave()

    await ours.adopt(bucket)

    assert ours.process.registry.generation == 3
    assert await ours.living() == tags
    assert await everything(ours.process) == known
    rows = await ours.process.database.fetch("SELECT key FROM objects WHERE state = 'live'")
    assert len({row["key"] for row in rows}) == len(rows) == 2


async def test_nothing_is_left_of_what_was_counted(ours: Installation, install: Install) -> None:
    """Rows of a registry that has come home have other numbers than before."""
    process, bucket = ours.process, ours.process.registry.bucket
    await process.count_a_pull_of_each()
    await ours.leave()
    theirs = await install()
    await theirs.adopt(bucket)
    await theirs.leave()

    await ours.adopt(bucket)

    for table in COUNTERS:
        assert await process.database.fetch(f"SELECT FROM {table}") == []
    for table, column, of in (
        ("tag_losses", "manifest_id", "manifests"),
        ("repository_pulls", "repository_id", "repositories"),
    ):
        assert await process.database.fetch(f"SELECT FROM {table} WHERE {column} NOT IN (SELECT id FROM {of})") == []


async def test_a_lost_installation(ours: Installation, install: Install) -> None:
    """Its marker says that it lives: it is taken over only by who names it."""
    process, bucket = ours.process, ours.process.registry.bucket
    await process.catalogue_of(ours.name).flush(process.registry)
    before = await everything(process)
    theirs = await install()

    with pytest.raises(AlreadyTaken, match=f"--from-lost-installation {ours.name}"):
        await theirs.adopt(bucket)
    with pytest.raises(ValueRefused, match="not one of the installation"):
        await theirs.adopt(bucket, lost="another")
    await theirs.adopt(bucket, lost=ours.name)

    assert await everything(theirs.process) == before
    # Should it live after all, it neither removes objects nor writes its catalogue any more.
    assert not await Markers(process.storage.buckets, ours.name).may_remove(process.registry)
    await push_manifest(process, image("4"), "v4")
    keys = await list_keys(process, catalogue_prefix(process.registry.public_id))
    await process.catalogue_of(ours.name).write_all()
    assert await list_keys(process, catalogue_prefix(process.registry.public_id)) == keys


async def test_a_blob_whose_object_is_gone(ours: Installation, install: Install) -> None:
    """It is unknown, so that nobody pushes an image that relies on it; pushing it brings all images back."""
    bucket, layer = ours.process.registry.bucket, Digest.of(LAYER)
    key = (await ours.process.pull.find(ours.process.registry, REPOSITORY, layer)).key
    await ours.leave()
    await ours.process.storage.port.remove(Location(bucket, key), None)
    theirs = await install()

    await theirs.adopt(bucket)

    process = theirs.process
    with pytest.raises(BlobUnknown):
        await process.pull.find(process.registry, REPOSITORY, layer)
    assert await process.content(Digest.of(CONFIG)) == CONFIG
    await push_blobs(process, LAYER)
    assert await process.content(layer) == LAYER


async def test_whoever_has_known_it_before_draws_no_more(ours: Installation, install: Install) -> None:
    """A segment among those of the generation before would stand in front of what it follows."""
    process, former = ours.process, ours.process.registry
    writer = process.catalogue_of(ours.name)
    await ours.leave()
    await ours.adopt(former.bucket)
    await push_manifest(process, image("3"), "v3")
    await writer.flush(process.registry)
    await push_manifest(process, image("4"), "v4")

    assert await Catalogue(process.database, process.storage.buckets.name).draw(former) is None
    await writer.flush(process.registry)

    before = await everything(process)
    theirs = await install()
    await theirs.adopt(former.bucket, lost=ours.name)
    assert await everything(theirs.process) == before


def when_all_rows_are_there(
    process: Process, monkeypatch: pytest.MonkeyPatch, act: Callable[[], Awaitable[None]]
) -> None:
    """Act once in a taking over, before the catalogue is written, which is what is written first."""
    store = process.storage.port.store

    async def act_and_store(location: Location, content: bytes) -> None:
        monkeypatch.undo()
        await act()
        await store(location, content)

    monkeypatch.setattr(process.storage.port, "store", act_and_store)


async def test_a_connection_that_is_held_all_the_time_is_lost(
    ours: Installation, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has nothing to say for minutes, for which something on the way may close it: what is done is done."""
    process, bucket = ours.process, ours.process.registry.bucket
    before = await everything(process)
    await ours.leave()
    theirs = await install()

    async def close() -> None:
        closed = await theirs.process.database.fetch(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks JOIN pg_database ON pg_database.oid = database "
            "WHERE locktype = 'advisory' AND datname = current_database()"
        )
        assert len(closed) == 1

    when_all_rows_are_there(process, monkeypatch, close)
    await theirs.adopt(bucket)

    assert await everything(theirs.process) == before
    assert (await marker(process.storage, bucket)).installation == theirs.name


async def test_what_was_to_be_marked_is_marked_by_the_next_try(
    ours: Installation, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process died when the registry was there and its marker was not: the marker is that of the lost one still."""
    process, bucket = ours.process, ours.process.registry.bucket
    await process.catalogue_of(ours.name).flush(process.registry)
    before = await everything(process)
    theirs = await install()

    async def die(*_: object, **__: object) -> None:
        raise StorageUnavailable("the process has died")

    with monkeypatch.context() as patches:
        patches.setattr(Markers, "claim", die)
        patches.setattr(RegistryRows, "delete_registry", die)
        with pytest.raises(StorageUnavailable):
            await theirs.adopt(bucket, lost=ours.name)

    await theirs.adopt(bucket, lost=ours.name)

    registry = theirs.process.registry
    found = await marker(process.storage, bucket)
    assert (found.installation, found.registry, found.generation) == (
        theirs.name,
        registry.public_id,
        registry.generation,
    )
    assert await everything(theirs.process) == before
    with pytest.raises(AlreadyTaken, match="there is a registry team already"):
        await theirs.adopt(bucket)


async def test_only_the_catalogue_of_the_present_stays(ours: Installation, install: Install) -> None:
    """Segments of former generations are removed, and rows name all others."""
    await ours.leave()
    theirs = await install()
    await theirs.adopt(ours.process.registry.bucket)
    process = theirs.process

    await process.catalogue_of(theirs.name).flush(process.registry)
    await process.remover_of(theirs.name).remove_all()

    keys = await list_keys(process, catalogue_prefix(process.registry.public_id))
    assert keys
    assert all(key.startswith(catalogue_prefix(process.registry.public_id, 2)) for key in keys)
    rows = await process.database.fetch("SELECT key FROM catalogue_segments")
    assert sorted(row["key"] for row in rows) == keys


async def test_a_segment_that_is_missing_or_damaged(ours: Installation, install: Install) -> None:
    """Is told with its name and with what to do, and nothing is made."""
    process, bucket = ours.process, ours.process.registry.bucket
    writer = process.catalogue_of(ours.name)
    await writer.flush(process.registry)
    for number in range(3, 6):
        await push_manifest(process, image(str(number)), f"v{number}")
        await writer.flush(process.registry)
    await ours.leave()
    keys = await list_keys(process, catalogue_prefix(process.registry.public_id))
    theirs = await install()

    middle = Location(bucket, keys[len(keys) // 2])
    await process.storage.port.remove(middle, None)
    with pytest.raises(ValueRefused, match="something is missing"):
        await theirs.adopt(bucket)
    await process.storage.port.store(middle, b"something else")
    with pytest.raises(ValueRefused, match=f"segment {middle.key} is damaged.*restore the database"):
        await theirs.adopt(bucket)
    assert [each.name for each in await theirs.registries.list()] == ["default"]


async def test_an_adoption_that_fails_can_be_repeated(ours: Installation, install: Install) -> None:
    """What the first try has left is cleared away by the second."""
    process, bucket = ours.process, ours.process.registry.bucket
    before = await everything(process)
    await ours.leave()
    theirs = await install()
    await theirs.process.database.execute(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no' USING ERRCODE = '23514'; END $$"
        ";"
        "CREATE TRIGGER fail BEFORE INSERT ON tags FOR EACH ROW EXECUTE FUNCTION fail()"
    )
    with pytest.raises(ValueRefused, match="cannot be"):
        await theirs.adopt(bucket)
    await theirs.process.database.execute("DROP TRIGGER fail ON tags")

    await theirs.adopt(bucket)

    assert await everything(theirs.process) == before
    for table in ("repositories", "blobs", "deletions"):
        rows = await theirs.process.database.fetch(
            f"SELECT FROM {table} WHERE registry_id <> $1", theirs.process.registry.id
        )
        assert rows == []


async def test_what_lies_there_of_before_is_not_reconciled(
    ours: Installation, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process died before the older segments were to be removed: they are of another database and its ids."""
    await ours.leave()
    theirs = await install()

    async def die(*_: object) -> None:
        raise StorageUnavailable("the process has died")

    monkeypatch.setattr(Adoption, "finish", die)
    with pytest.raises(StorageUnavailable):
        await theirs.adopt(ours.process.registry.bucket)
    process = theirs.process
    process.registry = (await theirs.registries.get("team")).registry
    change = ImageChange(tags_mutable=True, description="later")
    await images_of(process).update(ACTOR, process.registry, REPOSITORY, change, None)
    await images_of(process).delete_reference(ACTOR, process.registry, REPOSITORY, Tag("latest"))
    await process.catalogue_of(theirs.name).flush(process.registry)
    before = await everything(process)

    await theirs.registries.reconcile(ACTOR, "team")

    assert await everything(process) == before


async def test_a_segment_of_a_try_that_failed_comes_late(
    ours: Installation, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The storage did not answer, and stores it when the next try has looked what lies there."""
    bucket = ours.process.registry.bucket
    await ours.leave()
    theirs = await install()
    port = theirs.process.storage.port
    late: list[tuple[Location, bytes]] = []

    async def be_silent(location: Location, content: bytes) -> None:
        late.append((location, content))
        raise StorageUnavailable("the storage does not answer")

    monkeypatch.setattr(port, "store", be_silent)
    with pytest.raises(StorageUnavailable):
        await theirs.adopt(bucket)
    monkeypatch.undo()
    await theirs.adopt(bucket)
    await port.store(*late[0])

    registry = theirs.process.registry
    assert await theirs.process.catalogue_of(theirs.name).guard.look(registry) is Standing.CURRENT
    before = await everything(theirs.process)
    heirs = await install()
    await heirs.adopt(bucket, lost=theirs.name)
    assert await everything(heirs.process) == before


async def test_one_takes_a_bucket_over_at_a_time(
    ours: Installation, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who comes second, as by a request that is sent again, takes nothing away from the first."""
    process, bucket = ours.process, ours.process.registry.bucket
    before = await everything(process)
    await ours.leave()
    theirs = await install()
    again = managing(theirs.process.database, theirs.process.storage, theirs.name)

    async def meanwhile() -> None:
        with pytest.raises(AlreadyTaken, match="at this moment"):
            await again.create(ACTOR, "again", bucket, adopt=True)

    when_all_rows_are_there(process, monkeypatch, meanwhile)
    await theirs.adopt(bucket)

    assert await everything(theirs.process) == before
    assert [each.name for each in await theirs.registries.list()] == ["default", "team"]


async def test_a_copy_of_the_bucket_of_a_living_registry(
    ours: Installation,
    new_bucket: Callable[[], str],  # noqa: F811
) -> None:
    """Is refused before anything is done with what the registry has."""
    process, copy = ours.process, new_bucket()
    await process.catalogue_of(ours.name).flush(process.registry)
    for key in await list_keys(process, catalogue_prefix(process.registry.public_id)):
        await process.storage.port.store(Location(copy, key), await read_object(process, key))
    await mark(process.storage, copy, await marker(process.storage, process.registry.bucket))
    await process.database.execute("UPDATE objects SET state = 'removing'")
    before = await process.objects()

    with pytest.raises(AlreadyTaken, match="belongs to another registry"):
        await ours.registries.create(ACTOR, "copy", copy, adopt=True)

    assert await process.objects() == before
    rows = await process.database.fetch("SELECT FROM repositories WHERE registry_id <> $1", process.registry.id)
    assert rows == []


async def test_deleting_writes_what_is_known_first(ours: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the bucket is away it is refused, unless somebody accepts the loss; here the rows are kept anyway."""
    process = ours.process
    before = await everything(process)

    async def away(*_: object) -> None:
        raise StorageUnavailable("the bucket is away")

    monkeypatch.setattr(process.storage.port, "store", away)
    with pytest.raises(CatalogueUnwritten, match="--without-catalogue"):
        await ours.registries.delete(ACTOR, "team")
    assert (await ours.registries.get("team")).registry == process.registry
    await ours.registries.delete(ACTOR, "team", without_catalogue=True)
    monkeypatch.undo()

    await ours.adopt(process.registry.bucket)

    assert await everything(process) == before


async def test_pushing_while_it_is_taken_over(ours: Installation, install: Install) -> None:
    """Nobody sees anything before everything is there."""
    bucket = ours.process.registry.bucket
    await ours.leave()
    theirs = await install()
    adopting = asyncio.create_task(theirs.adopt(bucket))
    seen = set()
    while not adopting.done():
        for each in await theirs.registries.list():
            if each.name == "team":
                theirs.process.registry = each.registry
                seen.add(tuple(sorted(await theirs.living())))
        await asyncio.sleep(0)
    await adopting

    assert seen <= {("all", "latest", "v1")}
    assert sorted(await theirs.living()) == ["all", "latest", "v1"]
