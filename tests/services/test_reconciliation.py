"""A database restored from a backup: what the bucket knows comes back, and what was done since stays."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from gateway.db.catalogue import Catalogue, Limits
from gateway.db.catalogue_replay import CatalogueReplays
from gateway.db.collection import Collection
from gateway.db.pool import Database
from gateway.db.surveys import Surveys
from gateway.db.sweeping import Sweeping
from gateway.errors import AlreadyTaken, BlobUnknown, DatabaseUnavailable, ManifestUnknown, UploadUnknown, ValueRefused
from gateway.model.catalogue import catalogue_prefix
from gateway.model.digest import Digest
from gateway.model.keys import objects_of
from gateway.model.names import RepositoryName, Tag
from gateway.ports.directory import RegistryChange
from gateway.ports.images import ImageChange
from gateway.ports.storage import Location
from gateway.services.catalogue import CatalogueGuard, CatalogueWriter, Standing
from gateway.services.markers import Marker, Markers, State
from gateway.services.sweeping import Sweeper
from support.databases import migrated_database
from support.postgres import create_database, drop_database

from .conftest import ACTOR, REPOSITORY, body, open_process
from .test_adoption import Installation, everything, list_keys
from .test_images import images_of
from .test_manifests import CONFIG, LAYER, image, push_blobs, push_manifest
from .test_registries import managing, mark, new_bucket  # noqa: F401  (a fixture)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.ports.metadata import Registry
    from support.databases import Server

    from .conftest import Process, Storage

NAME = "ours"
NEW = b"a layer that came after the backup"
_numbers = count(1)


class House:
    """An installation whose database is saved and restored, as operators would do it: while nobody uses it."""

    def __init__(self, server: Server, storage: Storage, url: str, bucket: str) -> None:
        self._server = server
        self._storage = storage
        self._url = url
        self.bucket = bucket
        self.saved: list[str] = []

    @asynccontextmanager
    async def open(self, url: str | None = None) -> AsyncIterator[Installation]:
        """Work with the database, or with a backup of it."""
        async with AsyncExitStack() as stack:
            database = await stack.enter_async_context(Database.connected(url or self._url, connections=8))
            registries = managing(database, self._storage, NAME)
            found = Installation(NAME, registries, await open_process(stack, database, self._storage))
            if any(each.name == "team" for each in await registries.list()):
                found.process.registry = (await registries.get("team")).registry
            yield found

    async def save(self) -> str:
        """Copy the database, and return the address of the copy."""
        name = f"backup_{next(_numbers)}"
        url = await create_database(self._server.dsn, name, urlsplit(self._url).path.lstrip("/"))
        self.saved.append(name)
        return url

    async def fail_over(self, copy: str) -> None:
        """Put a copy of the database in its place, under those who use it."""
        name, lost = urlsplit(self._url).path.lstrip("/"), f"lost_{next(_numbers)}"
        copied = urlsplit(copy).path.lstrip("/")
        connection = await asyncpg.connect(self._server.dsn)
        try:
            await connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
            await connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1", name
            )
            await connection.execute(f'ALTER DATABASE "{name}" RENAME TO "{lost}"')
            await connection.execute(f'ALTER DATABASE "{copied}" RENAME TO "{name}"')
        finally:
            await connection.close()
        self.saved[self.saved.index(copied)] = lost


@pytest.fixture
async def house(
    embedded_server: Server,
    storage: Storage,
    new_bucket: Callable[[], str],  # noqa: F811
) -> AsyncIterator[House]:
    """An installation with a registry that has an image, all of it in the catalogue."""
    async with migrated_database(embedded_server) as url:
        made = House(embedded_server, storage, url, new_bucket())
        async with made.open() as first:
            first.process.registry = (await first.registries.create(ACTOR, "team", made.bucket)).registry
            await push_blobs(first.process, CONFIG, LAYER)
            await push_manifest(first.process, image("1"), "v1", "latest")
            await push_manifest(first.process, image("2"), "v2")
            await write(first)
        yield made
        for name in made.saved:
            await drop_database(embedded_server.dsn, name)


async def write(installation: Installation, **limits: int) -> None:
    await writer(installation, **limits).flush(installation.process.registry)


def writer(installation: Installation, **limits: int) -> CatalogueWriter:
    process = installation.process
    index = Catalogue(process.database, process.storage.buckets.name, Limits(**limits))
    guard = CatalogueGuard(index, process.storage.port)
    return CatalogueWriter(index, process.storage.port, Markers(process.storage.buckets, NAME), guard)


async def push_image(process: Process, note: str, *tags: str) -> Digest:
    await push_blobs(process, CONFIG, LAYER)
    return await push_manifest(process, image(note), *tags)


async def go_on(process: Process) -> None:
    """Do everything that may happen to images after a backup."""
    await push_image(process, "3", "v3", "latest")
    await push_blobs(process, NEW)
    other = RepositoryName("team/other")
    session = await process.push.start(process.registry, other)
    await process.push.close(process.registry, other, session, body(NEW), Digest.of(NEW))
    await images_of(process).delete_reference(ACTOR, process.registry, REPOSITORY, Tag("v1"))
    change = ImageChange(short_description="later", tags_mutable=False)
    await images_of(process).update(ACTOR, process.registry, REPOSITORY, change, None)
    (deleted,) = await images_of(process).deleted(process.registry, None, 10)
    await images_of(process).delete_reference(ACTOR, process.registry, REPOSITORY, Digest.of(image("2")))
    await images_of(process).restore(ACTOR, process.registry, deleted.deletion.id)


async def go_on_and_lose(house: House) -> tuple[str, list[tuple[Any, ...]]]:
    """Return a backup, and all that there was when the database behind it was lost, which the bucket knows."""
    backup = await house.save()
    async with house.open() as lost:
        await go_on(lost.process)
        await write(lost)
        return backup, await everything(lost.process)


@pytest.mark.parametrize("records", [3, 2000])
async def test_everything_comes_back(house: House, records: int) -> None:
    """As if the backup had been made at the end; what is in the bucket is believed again, and removals go on."""
    backup = await house.save()
    async with house.open() as lost:
        await go_on(lost.process)
        await lost.registries.update(ACTOR, "team", RegistryChange(public_pull=True), None)
        await write(lost, records=records)
        wanted = await everything(lost.process)

    async with house.open(backup) as restored:
        process = restored.process
        assert await writer(restored).guard.look(process.registry) is Standing.AHEAD
        brought = await restored.registries.reconcile(ACTOR, "team")

        assert (brought.repositories, brought.tags, brought.manifests, brought.blobs) == (1, 1, 1, 1)
        assert await everything(process) == wanted
        assert (await restored.registries.get("team")).public_pull
        assert await process.content(Digest.of(NEW)) == NEW
        assert await writer(restored).guard.look(process.registry) is Standing.CURRENT
        again = await restored.registries.reconcile(ACTOR, "team")
        assert (again.repositories, again.tags, again.manifests, again.blobs) == (0, 0, 0, 0)


async def test_it_goes_on_afterwards(house: House) -> None:
    """The bucket's catalogue is whole again, for who takes it over later, whatever ids rows have by then."""
    backup, _ = await go_on_and_lose(house)

    async with house.open(backup) as restored:
        await restored.registries.reconcile(ACTOR, "team")
        await push_image(restored.process, "5", "v5")
        await write(restored)
        wanted = await everything(restored.process)
        await restored.leave()
    async with house.open() as heir:
        # This database is an old one, too: its rows are not believed.
        await heir.process.database.execute(
            "UPDATE registries SET deleted_at = now(), generation = 7 WHERE name = 'team'"
        )
        await heir.adopt(house.bucket)
        assert await everything(heir.process) == wanted


async def test_a_standby_that_takes_over(house: House) -> None:
    """What was seen of the bucket a moment ago counts no more when another database answers, which knows less."""
    standby = await house.save()
    async with house.open() as found:
        process = found.process
        await go_on(process)
        await write(found)
        catalogue = writer(found)
        assert await catalogue.guard.objection(process.registry) is None
        keys = await list_keys(process, catalogue_prefix(process.registry.public_id))
        await house.fail_over(standby)
        while True:
            try:
                await push_image(process, "4", "v4")
            except DatabaseUnavailable:
                continue
            break

        assert await catalogue.guard.objection(process.registry) is not None
        await catalogue.write_all()

        assert await list_keys(process, catalogue_prefix(process.registry.public_id)) == keys


@pytest.mark.parametrize("is_later", [False, True])
async def test_another_backup_after_one_that_was_reconciled(house: House, is_later: bool) -> None:
    """Its ids do not mean what those in the bucket mean since then: it is refused, and taking over brings all back."""
    first, second = await house.save(), await house.save()
    async with house.open() as lost:
        await go_on(lost.process)
        await write(lost)
    if is_later:
        second = await house.save()
    async with house.open(first) as restored:
        await restored.registries.reconcile(ACTOR, "team")
        await push_image(restored.process, "5", "v5")
        await images_of(restored.process).delete_reference(ACTOR, restored.process.registry, REPOSITORY, Tag("v3"))
        await write(restored)
        wanted = await everything(restored.process)

    async with house.open(second) as restored:
        with pytest.raises(ValueRefused, match="take its bucket over"):
            await restored.registries.reconcile(ACTOR, "team")
        await restored.registries.delete(ACTOR, "team", without_catalogue=True)
        await restored.adopt(house.bucket)

        assert await everything(restored.process) == wanted


async def test_what_was_done_since_stays(house: House) -> None:
    """Later than what the bucket says: tags that were moved, images of the same name, rows with the same numbers."""
    backup = await house.save()
    async with house.open() as lost:
        await push_image(lost.process, "3", "v3", "latest")
        other = RepositoryName("team/other")
        session = await lost.process.push.start(lost.process.registry, other)
        await lost.process.push.close(lost.process.registry, other, session, body(NEW), Digest.of(NEW))
        stored = (await lost.process.pull.find(lost.process.registry, other, Digest.of(NEW))).key
        await write(lost)

    async with house.open(backup) as restored:
        process = restored.process
        latest = await push_image(process, "4", "v4", "latest")
        for name in ("team/new", "team/other"):
            repository = RepositoryName(name)
            session = await process.push.start(process.registry, repository)
            await process.push.close(process.registry, repository, session, body(NEW), Digest.of(NEW))
        keys = {row["key"] for row in await process.database.fetch("SELECT key FROM objects WHERE state = 'live'")}

        await restored.registries.reconcile(ACTOR, "team")

        tags = await restored.living()
        assert tags["latest"] == tags["v4"] == str(latest)
        assert tags["v3"] == str(Digest.of(image("3")))
        assert tags.keys() == {"v1", "v2", "v3", "v4", "latest"}
        rows = await process.database.fetch("SELECT name FROM repositories WHERE registry_id = $1", process.registry.id)
        assert sorted(row["name"] for row in rows) == ["team/app", "team/new", "team/other"]
        assert await process.content(Digest.of(LAYER)) == LAYER
        states = {key: state for state, key in await process.objects()}
        assert {key for key, state in states.items() if state == "live"} == keys
        # The time that was lost had stored the same: that is one too many.
        assert states[stored] == "removing"


@pytest.mark.parametrize("is_compacted", [False, True])
async def test_what_was_collected_is_gone(house: House, is_compacted: bool) -> None:
    """The bucket does not have it any more; also when the segments that said so were removed since."""
    async with house.open() as first:
        await push_blobs(first.process, NEW)
        await images_of(first.process).delete_reference(ACTOR, first.process.registry, REPOSITORY, Tag("v2"))
        await images_of(first.process).delete_reference(
            ACTOR, first.process.registry, REPOSITORY, Digest.of(image("2"))
        )
        await write(first)
    backup = await house.save()
    async with house.open() as lost:
        process = lost.process
        location = await process.pull.find(process.registry, REPOSITORY, Digest.of(NEW))
        await process.database.execute("DELETE FROM repository_blobs WHERE digest = $1", str(Digest.of(NEW)))
        await process.database.execute("DELETE FROM blobs WHERE digest = $1", str(Digest.of(NEW)))
        await process.database.execute("DELETE FROM objects WHERE key = $1", location.key)
        await process.database.execute("DELETE FROM tags WHERE deleted_at IS NOT NULL")
        await process.database.execute("DELETE FROM manifests WHERE deleted_at IS NOT NULL")
        await process.database.execute("DELETE FROM deletions")
        await process.storage.port.remove(Location(house.bucket, location.key), None)
        await write(lost)
        if is_compacted:
            await push_image(process, "3", "v3")
            await write(lost, least_log=0, growth=0)
            await process.remover_of(NAME).remove_all()
        wanted = await everything(process)

    async with house.open(backup) as restored:
        await restored.registries.reconcile(ACTOR, "team")

        assert await everything(restored.process) == wanted
        await push_blobs(restored.process, NEW)
        assert await restored.process.content(Digest.of(NEW)) == NEW


async def test_an_upload_that_was_finished(house: House) -> None:
    """Nobody goes on with it in the backup, where it has only begun: what it had stored is the blob by now."""
    async with house.open() as first:
        process = first.process
        session = await process.push.start(process.registry, REPOSITORY)
        await process.push.append(process.registry, REPOSITORY, session, body(NEW))
    backup = await house.save()
    async with house.open() as lost:
        process = lost.process
        await process.push.close(process.registry, REPOSITORY, session, body(), Digest.of(NEW))
        await write(lost)

    async with house.open(backup) as restored:
        process = restored.process
        await restored.registries.reconcile(ACTOR, "team")

        with pytest.raises(UploadUnknown):
            await process.push.append(process.registry, REPOSITORY, session, body(b"more"))
        await Sweeper(Sweeping(process.database, process.storage.buckets.name), process.remover_of(NAME)).sweep()
        await process.remover_of(NAME).remove_all()
        assert await process.content(Digest.of(NEW)) == NEW


async def test_an_upload_that_was_finished_is_there_when_the_bucket_is_taken_over(house: House) -> None:
    """Deleting the registry of the backup ends the upload there, and its object is that of a blob by now."""
    async with house.open() as first:
        process = first.process
        session = await process.push.start(process.registry, REPOSITORY)
        await process.push.append(process.registry, REPOSITORY, session, body(NEW))
        given_up = await process.push.start(process.registry, REPOSITORY)
        await process.push.append(process.registry, REPOSITORY, given_up, body(b"given up"))
    backup = await house.save()
    async with house.open() as lost:
        process = lost.process
        await process.push.close(process.registry, REPOSITORY, session, body(), Digest.of(NEW))
        await write(lost)

    async with house.open(backup) as restored:
        process = restored.process
        await restored.registries.delete(ACTOR, "team", without_catalogue=True)
        await process.remover_with(writer(restored).guard).remove_all()
        await restored.adopt(house.bucket)
        await process.remover_of(NAME).remove_all()

        assert await process.content(Digest.of(NEW)) == NEW
        live = {key for state, key in await process.objects() if state == "live"}
        assert set(await list_keys(process, objects_of(process.registry.public_id))) == live


@pytest.mark.parametrize("is_mended", [False, True])
async def test_a_blob_that_was_withdrawn(house: House, is_mended: bool) -> None:
    """It is withdrawn; or the object with which a push has mended it is the one that stays."""
    layer = Digest.of(LAYER)
    backup = await house.save()
    async with house.open() as lost:
        process = lost.process
        key = (await process.pull.find(process.registry, REPOSITORY, layer)).key
        await process.storage.port.remove(Location(house.bucket, key), None)
        assert await Surveys(process.database).withdraw_blob(ACTOR, key)
        if is_mended:
            await push_blobs(process, LAYER)
        await write(lost)
        wanted = await everything(process)

    async with house.open(backup) as restored:
        process = restored.process
        await restored.registries.reconcile(ACTOR, "team")
        await process.remover_of(NAME).remove_all()

        assert await everything(process) == wanted
        if not is_mended:
            await push_blobs(process, LAYER)
        assert await process.content(layer) == LAYER


async def test_a_blob_whose_object_was_just_removed(house: House) -> None:
    """The catalogue did not say so yet: who relied on it would push an image that nobody can pull."""
    layer = Digest.of(LAYER)
    backup = await house.save()
    async with house.open() as lost:
        process = lost.process
        await push_image(process, "3", "v3")
        await write(lost)
        key = (await process.pull.find(process.registry, REPOSITORY, layer)).key
        await process.storage.port.remove(Location(house.bucket, key), None)

    async with house.open(backup) as restored:
        process = restored.process
        await restored.registries.reconcile(ACTOR, "team")

        with pytest.raises(BlobUnknown):
            await process.pull.find(process.registry, REPOSITORY, layer)
        assert await process.content(Digest.of(CONFIG)) == CONFIG
        await push_blobs(process, LAYER)
        assert await process.content(layer) == LAYER


async def test_days_without_a_tag_begin_anew(house: House) -> None:
    """Nobody knows when manifests were pulled and lost their tags in the time that was lost."""
    async with house.open() as first:
        process = first.process
        change = ImageChange(untagged_days=30)
        await images_of(process).update(ACTOR, process.registry, REPOSITORY, change, None)
        await process.database.execute("UPDATE manifests SET created_at = created_at - interval '100 days'")
        await write(first)
    backup = await house.save()
    async with house.open() as lost:
        await push_image(lost.process, "3", "v2")
        await write(lost)

    async with house.open(backup) as restored:
        process = restored.process
        await restored.registries.reconcile(ACTOR, "team")

        index = Collection(process.database, process.storage.buckets.name)
        assert await index.delete_untagged([process.registry]) == 0
        await process.manifests.find(process.registry, REPOSITORY, Digest.of(image("2")))


async def test_one_that_fails_can_be_repeated(house: House) -> None:
    """Nothing is written or removed in between, and nothing comes back twice."""
    backup, wanted = await go_on_and_lose(house)

    async with house.open(backup) as restored:
        process = restored.process
        await process.database.execute(
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE 'no' USING ERRCODE = '23514'; END $$;"
            "CREATE TRIGGER fail BEFORE INSERT ON tags FOR EACH ROW EXECUTE FUNCTION fail()"
        )
        with pytest.raises(ValueRefused, match="cannot be"):
            await restored.registries.reconcile(ACTOR, "team")
        keys = await list_keys(process, catalogue_prefix(process.registry.public_id))
        await writer(restored).write_all()
        assert await list_keys(process, catalogue_prefix(process.registry.public_id)) == keys
        await process.database.execute("DROP TRIGGER fail ON tags")

        await restored.registries.reconcile(ACTOR, "team")

        assert await everything(process) == wanted


async def test_one_reconciles_at_a_time(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is first clears away at its end what a second one would still need."""
    backup, wanted = await go_on_and_lose(house)

    async with house.open(backup) as restored:
        again = managing(restored.process.database, restored.process.storage, NAME)
        clear = CatalogueReplays.clear
        held: list[Registry] = []

        async def meanwhile(replays: CatalogueReplays, registry: Registry) -> None:
            if not held:
                held.append(registry)
                with pytest.raises(AlreadyTaken, match="at this moment"):
                    await again.reconcile(ACTOR, "team")
            await clear(replays, registry)

        monkeypatch.setattr(CatalogueReplays, "clear", meanwhile)
        await restored.registries.reconcile(ACTOR, "team")

        assert held
        assert await everything(restored.process) == wanted


async def test_a_registry_that_was_taken_over_is_not_reconciled(house: House) -> None:
    """Whoever has it now knows better."""
    backup = await house.save()
    async with house.open() as lost:
        await go_on(lost.process)
        await write(lost)
        taken = Marker("theirs", lost.process.registry.public_id, 2, State.LIVING)
        await mark(lost.process.storage, house.bucket, taken)

    async with house.open(backup) as restored:
        with pytest.raises(ValueRefused, match="taken over"):
            await restored.registries.reconcile(ACTOR, "team")
        with pytest.raises(ManifestUnknown):
            await restored.process.manifests.find(restored.process.registry, REPOSITORY, Tag("v3"))
