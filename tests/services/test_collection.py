"""Collection: what nothing needs goes, and nothing else, whoever does what at the same moment."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import pytest

from gateway.db.blobs import Blobs, insert_repository_blob
from gateway.db.collection import _COLLECTING, Collection
from gateway.db.manifests import lock_children, mark_referenced
from gateway.db.registries import RegistryRows
from gateway.errors import BlobUnknown, CannotRestore, ManifestBlobsUnknown, NothingKnown
from gateway.model.collection import Collected, Event, Keeping, Queue, Stage
from gateway.model.digest import Digest
from gateway.model.names import RepositoryName, Tag
from gateway.services.collection import Collector
from gateway.services.markers import Markers
from support.stopping import ends_or_waits

from .conftest import ACTOR, COUNTERS, REPOSITORY, Process, StartProcess, body
from .test_manifests import CONFIG, LAYER, image, index, push_blobs, push_manifest
from .test_restoring import delete, deleted, is_there, living, push, restore, waits_for_a_lock
from .test_sweeping import Objector

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.ports.collection import Guard


OTHER = RepositoryName("team/other")
KEEPING = Keeping(grace=timedelta(hours=24), restore=timedelta(days=7))
EARLIEST = datetime(1, 1, 1, tzinfo=UTC)
NOTHING = Keeping(grace=timedelta(0), restore=timedelta(0))


def collector(process: Process, *guards: Guard, keeping: Keeping = KEEPING) -> Collector:
    return Collector(Collection(process.database, "test"), process.remover, keeping, guards)


async def age(process: Process, days: float) -> None:
    """Let everything that was dropped or deleted be so for some days more."""
    for table, column in (
        ("repository_blobs", "unreferenced_since"),
        ("repository_blobs", "deleted_at"),
        ("manifests", "deleted_at"),
        ("tags", "deleted_at"),
        ("repositories", "deleted_at"),
        ("deletions", "deleted_at"),
    ):
        await process.database.execute(f"UPDATE {table} SET {column} = {column} - make_interval(days => $1)", days)


async def held(process: Process) -> dict[str, list[str]]:
    """Digests of the blobs that each repository has, deleted ones too."""
    rows = await process.database.fetch(
        "SELECT name, digest FROM repositories JOIN repository_blobs ON repository_id = repositories.id"
    )
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row["name"], []).append(row["digest"])
    return found


async def count(process: Process, table: str) -> int:
    return len(await process.database.fetch(f"SELECT FROM {table}"))


async def collect_all(process: Process) -> Collected:
    """Make the rounds that it takes when nothing is kept any longer, and remove the objects for good."""
    total = await collector(process, keeping=NOTHING).collect()
    for _ in range(2):
        await process.remover.remove_all()
        await process.database.execute("UPDATE objects SET removed_at = now() - interval '1 hour'")
    return total


async def test_a_push_that_was_given_up_goes_after_the_grace_time(process: Process) -> None:
    """Its blobs stay for a day, then rows and objects go."""
    await push_blobs(process, CONFIG, LAYER)

    assert await collector(process).collect() == Collected()
    await process.database.execute("UPDATE repository_blobs SET unreferenced_since = now() - interval '23 hours'")
    assert await collector(process).collect() == Collected()
    assert await process.content(Digest.of(LAYER)) == LAYER
    await age(process, 1)

    collected = await collector(process).collect()

    assert collected == Collected(repository_blobs=2, blobs=2, bytes=len(CONFIG + LAYER))
    await process.remover.remove_all()
    assert process.everything() == []


async def test_what_a_manifest_refers_to_stays(process: Process) -> None:
    """For ever, tagged or not."""
    await push(process, "1", "v1")
    untagged = await push(process, "2")
    await age(process, 1000)

    assert await collector(process, keeping=NOTHING).collect() == Collected()

    assert await is_there(process, untagged)
    assert await process.content(Digest.of(LAYER)) == LAYER


async def test_a_deleted_manifest_holds_its_blobs_until_it_cannot_be_restored(process: Process) -> None:
    """Then the grace time begins, at whose end they go."""
    digest = await push(process, "1", "v1")
    await delete(process, digest)
    await age(process, 6)
    assert await collector(process).collect() == Collected()
    assert len(await deleted(process)) == 1
    await age(process, 1)

    assert await collector(process).collect() == Collected(manifests=1, tags=1)
    assert await process.content(Digest.of(LAYER)) == LAYER
    assert await collector(process).collect() == Collected()
    await age(process, 1)

    assert await collector(process).collect() == Collected(repository_blobs=2, blobs=2, bytes=len(CONFIG + LAYER))
    assert [await count(process, table) for table in ("deletions", "manifests", "tags", "manifest_references")] == [
        0
    ] * 4


async def test_what_two_manifests_share_stays_for_the_other(process: Process) -> None:
    """The last one to go takes its blobs along."""
    await push(process, "1", "v1")
    await delete(process, await push(process, "2"))

    assert (await collect_all(process)).manifests == 1

    assert (await living(process)).keys() == {"v1"}
    assert await process.content(Digest.of(LAYER)) == LAYER


@pytest.mark.parametrize("stage", Stage)
async def test_a_registry_that_was_deleted_is_left_in_the_middle_of_a_round(process: Process, stage: Stage) -> None:
    """Whoever takes it over from its bucket believes what its catalogue said then."""
    await push(process, "1", "v1")
    await delete(process)
    await push(process, "2", "v2", "v3")
    await delete(process, Tag("v3"))
    await push_blobs(process, b"deleted")
    await Blobs(process.database).delete_blob(process.registry, REPOSITORY, Digest.of(b"deleted"), ACTOR)
    index = Collection(process.database, "test")
    found = await index.list_registries()
    for done in takewhile(lambda each: each is not stage, Stage):
        await index.collect(done, found, NOTHING, EARLIEST, 100)
    await RegistryRows(process.database).delete_registry(ACTOR, "default")
    tables = "deletions", "manifests", "tags", "repository_blobs", "blobs", "repositories"
    left = [await count(process, table) for table in tables]

    await index.collect(stage, found, NOTHING, EARLIEST, 100)

    assert [await count(process, table) for table in tables] == left


async def test_deleting_a_registry_waits_for_a_batch(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what the batch drops is written to the bucket with the rest."""
    await push_blobs(process, CONFIG, LAYER)
    await age(process, 1)
    deleting: list[asyncio.Task[Any]] = []
    collect = _COLLECTING[Stage.UNREFERENCED_BLOBS]

    async def delete_meanwhile(*arguments: Any) -> Any:
        deleting.append(asyncio.create_task(RegistryRows(process.database).delete_registry(ACTOR, "default")))
        await waits_for_a_lock(process)
        return await collect(*arguments)

    monkeypatch.setitem(_COLLECTING, Stage.UNREFERENCED_BLOBS, delete_meanwhile)

    assert (await collector(process).collect()).blobs == 2
    await deleting[0]


async def test_a_mounted_blob_is_one_object_of_two(process: Process) -> None:
    """Collecting one repository never touches what another one has."""
    await push(process, "1", "v1")
    await process.push.mount(process.registry, OTHER, Digest.of(LAYER), REPOSITORY)
    await age(process, 1)

    collected = await collector(process).collect()

    assert collected == Collected(repository_blobs=1)
    await process.remover.remove_all()
    assert await process.content(Digest.of(LAYER)) == LAYER
    assert len(process.everything()) == 2


async def test_a_deleted_blob_counts_as_there_until_it_cannot_be_restored(process: Process) -> None:
    """Its object is kept while something could bring it back: its own time, or that of a deleted manifest."""
    digest = await push(process, "1", "v1")
    await delete(process, digest)
    await process.pull.delete(process.registry, REPOSITORY, Digest.of(LAYER), ACTOR)
    await process.database.execute("UPDATE repository_blobs SET deleted_at = deleted_at - interval '7 days'")

    assert await collector(process).collect() == Collected()
    await restore(process)
    assert await living(process) == {"v1": str(digest)}
    assert await process.content(Digest.of(LAYER)) == LAYER

    await delete(process, digest)
    await process.pull.delete(process.registry, REPOSITORY, Digest.of(LAYER), ACTOR)
    await age(process, 7)
    collected = await collector(process).collect()
    assert collected == Collected(manifests=1, tags=1, repository_blobs=1, blobs=1, bytes=len(LAYER))


async def test_a_deleted_blob_that_nothing_needed_is_kept_as_long_as_others(process: Process) -> None:
    """The time without references has ended with its deletion."""
    await push_blobs(process, LAYER)
    await age(process, 2)
    await process.pull.delete(process.registry, REPOSITORY, Digest.of(LAYER), ACTOR)

    assert await collector(process).collect() == Collected()
    await age(process, 7)
    assert await collector(process).collect() == Collected(repository_blobs=1, blobs=1, bytes=len(LAYER))


async def test_nothing_is_left_of_a_deleted_image(process: Process) -> None:
    """Neither rows nor objects, whatever was deleted from it before."""
    one = await push(process, "1", "v1", "v2")
    await push(process, "2", "v3")
    await push_manifest(process, index(image("1"), image("2")), "all")
    await delete(process, Tag("v2"))
    await delete(process, Digest.of(index(image("1"), image("2"))))
    await delete(process, one)
    await delete(process)
    await process.count_a_pull_of_each()

    collected = await collect_all(process)

    assert collected == Collected(manifests=3, tags=4, images=1, repository_blobs=2, blobs=2, bytes=len(CONFIG + LAYER))
    assert process.everything() == []
    for table in (
        *("repositories", "repository_blobs", "blobs", "objects", "manifests", "manifest_references", "tags"),
        *("deletions", "repository_pulls", *COUNTERS),
    ):
        assert (table, await count(process, table)) == (table, 0)


async def test_a_deleted_image_comes_back_whole_until_its_time_is_over(process: Process) -> None:
    """Rounds in between take nothing away."""
    digest = await push(process, "1", "v1")
    await delete(process)
    await age(process, 6)

    assert await collector(process).collect() == Collected()
    await restore(process)

    assert await living(process) == {"v1": str(digest)}
    assert await process.content(Digest.of(LAYER)) == LAYER


async def test_what_an_older_program_has_deleted_goes_as_well(process: Process) -> None:
    """Its rows name no deletion."""
    await delete(process, await push(process, "1", "v1"))
    await process.database.execute("UPDATE manifests SET deletion_id = NULL")
    await process.database.execute("UPDATE tags SET deletion_id = NULL")
    await process.database.execute("DELETE FROM deletions")
    await age(process, 6)
    assert await collector(process).collect() == Collected()
    await age(process, 1)

    assert await collector(process).collect() == Collected(manifests=1, tags=1)


async def test_what_is_removed_never_comes_back(process: Process) -> None:
    """Once it was collected a blob is not found, mounted or referred to; pushed again, it is another object."""
    await push_blobs(process, CONFIG, LAYER)
    ((_, before), *_) = [each for each in await process.objects() if each[0] == "live"][1:]
    await collector(process, keeping=NOTHING).collect()

    with pytest.raises(BlobUnknown):
        await process.pull.promise(process.registry, REPOSITORY, Digest.of(LAYER))
    for source in (REPOSITORY, None):
        assert not await process.push.mount(process.registry, OTHER, Digest.of(LAYER), source)
    with pytest.raises(ManifestBlobsUnknown):
        await push_manifest(process, image())
    await push_blobs(process, CONFIG, LAYER)
    await push_manifest(process, image(), "v1")
    await process.remover.remove_all()

    objects = await process.objects()
    assert ("removing", before) in objects
    assert sorted(key for state, key in objects if state == "live") == sorted(process.everything())
    assert await process.content(Digest.of(LAYER)) == LAYER


async def test_a_question_keeps_a_blob_for_another_day(process: Process) -> None:
    """Not each one costs a write: only when an eighth of the time is over."""
    await push_blobs(process, LAYER)
    await process.database.execute("UPDATE repository_blobs SET unreferenced_since = now() - interval '2 hours'")
    before = await process.database.fetchrow("SELECT unreferenced_since FROM repository_blobs")
    await process.pull.promise(process.registry, REPOSITORY, Digest.of(LAYER))
    assert await process.database.fetchrow("SELECT unreferenced_since FROM repository_blobs") == before
    await age(process, 1)

    await process.pull.promise(process.registry, REPOSITORY, Digest.of(LAYER))

    assert await collector(process).collect() == Collected()
    row = await process.database.fetchrow("SELECT now() - unreferenced_since FROM repository_blobs")
    assert row is not None
    assert row[0] < timedelta(minutes=1)


async def test_a_question_about_a_blob_in_use_writes_nothing(process: Process) -> None:
    """It is held by its manifest."""
    await push(process, "1", "v1")
    before = await process.database.fetch("SELECT xmin::text, unreferenced_since FROM repository_blobs")

    await process.pull.promise(process.registry, REPOSITORY, Digest.of(LAYER))

    assert await process.database.fetch("SELECT xmin::text, unreferenced_since FROM repository_blobs") == before


async def test_a_mount_of_an_old_blob_keeps_it(process: Process) -> None:
    """What was mounted can be referred to."""
    await push_blobs(process, LAYER)
    await age(process, 2)

    assert await process.push.mount(process.registry, REPOSITORY, Digest.of(LAYER), REPOSITORY)

    assert await collector(process).collect() == Collected()


DROPPING = {
    "a question": lambda process: process.pull.promise(process.registry, REPOSITORY, Digest.of(LAYER)),
    "a mount": lambda process: process.push.mount(process.registry, OTHER, Digest.of(LAYER), REPOSITORY),
}


@pytest.mark.parametrize("what", DROPPING)
async def test_nothing_is_promised_of_a_blob_that_is_being_dropped(process: Process, what: str) -> None:
    """Whoever asks at this very moment waits for the outcome."""
    ask: Callable[[Process], Awaitable[object]] = DROPPING[what]
    await push_blobs(process, LAYER)
    await age(process, 2)
    async with process.database.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("DELETE FROM repository_blobs")
        asking = asyncio.ensure_future(ask(process))
        await waits_for_a_lock(process)
        await transaction.commit()

    if what == "a mount":
        assert await asking is False
    else:
        with pytest.raises(BlobUnknown):
            await asking


async def test_a_candidate_that_somebody_has_locked_is_passed_over(process: Process) -> None:
    """Without waiting; the next round looks again."""
    await push_blobs(process, LAYER)
    await age(process, 2)
    async with process.database.connection() as connection, connection.transaction():
        await connection.fetch("SELECT FROM repository_blobs FOR UPDATE")

        assert await collector(process).collect() == Collected()

    assert await process.content(Digest.of(LAYER)) == LAYER
    assert (await collector(process).collect()).blobs == 1


@pytest.mark.parametrize(
    ("table", "reference"),
    [("deletions", Tag("v1")), ("tags", Tag("v1")), ("manifests", None), ("repositories", None)],
)
async def test_what_somebody_moves_or_restores_is_passed_over(
    process: Process, table: str, reference: Tag | None
) -> None:
    """A round waits for none of them, since they may wait for what it has taken itself."""
    await push(process, "1", "v1", "v2")
    await delete(process, reference)
    async with process.database.connection() as connection, connection.transaction():
        held = len(await connection.fetch(f"SELECT FROM {table} FOR UPDATE"))
        ending = asyncio.create_task(collector(process, keeping=NOTHING).collect())
        await ends_or_waits(process.database, ending)

        assert ending.done()
        assert await count(process, table) == held

    await collector(process, keeping=NOTHING).collect()
    assert await count(process, table) < held


async def test_a_manifest_that_is_being_pushed_has_its_blobs(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """A round in the middle of the push finds them locked."""
    await push_blobs(process, CONFIG, LAYER)

    async def round_before(*arguments: Any) -> None:
        assert await collector(process, keeping=NOTHING).collect() == Collected()
        await mark_referenced(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("gateway.db.manifests.mark_referenced", round_before)
        await push_manifest(process, image(), "v1")

    assert await collector(process, keeping=NOTHING).collect() == Collected()
    assert await process.content(Digest.of(LAYER)) == LAYER


async def test_a_blob_that_is_being_pushed_elsewhere_keeps_its_object(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The round waits for the push, which has found the object and is about to rely on it."""
    await push_blobs(process, LAYER)
    await age(process, 2)
    rounds: list[asyncio.Task[Collected]] = []

    async def round_before(*arguments: Any) -> None:
        rounds.append(asyncio.create_task(collector(process).collect()))
        await waits_for_a_lock(process)
        await insert_repository_blob(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("gateway.db.uploads.insert_repository_blob", round_before)
        session = await process.push.start(process.registry, OTHER)
        await process.push.close(process.registry, OTHER, session, body(LAYER), Digest.of(LAYER))

    assert await rounds[0] == Collected(repository_blobs=1)
    await process.remover.remove_all()
    assert await held(process) == {"team/other": [str(Digest.of(LAYER))]}
    blob = await process.pull.find(process.registry, OTHER, Digest.of(LAYER))
    assert process.everything() == [blob.key]


async def test_what_is_being_restored_is_not_purged(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """A round at the very end of its time passes it over."""
    digest = await push(process, "1", "v1")
    await delete(process, digest)

    async def round_before(*arguments: Any) -> set[str]:
        assert await collector(process, keeping=NOTHING).collect() == Collected()
        return await lock_children(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("gateway.db.restoring.lock_children", round_before)
        await restore(process)

    assert await living(process) == {"v1": str(digest)}
    assert await process.content(Digest.of(LAYER)) == LAYER


async def test_what_was_purged_cannot_be_restored(process: Process) -> None:
    """It is not listed either; and what needs a blob that is gone says so."""
    await delete(process, await push(process, "1", "v1"))
    (deletion,) = await deleted(process)
    await collector(process, keeping=NOTHING).collect()

    assert await deleted(process) == []
    with pytest.raises(NothingKnown):
        await restore(process, deletion)

    await delete(process, await push(process, "2", "v2"))
    await process.database.execute("DELETE FROM repository_blobs WHERE digest = $1", str(Digest.of(LAYER)))
    with pytest.raises(CannotRestore, match=str(Digest.of(LAYER))):
        await restore(process)


async def test_a_date_that_is_wrong_is_mended(process: Process) -> None:
    """An unreferenced blob of an image that another one joined, whose deleted manifest needs it."""
    await push(process, "1", "v1")
    await delete(process, await push(process, "2", "v2"))
    await process.database.execute("UPDATE repository_blobs SET unreferenced_since = now() - interval '2 days'")

    assert await collector(process).collect() == Collected()

    rows = await process.database.fetch("SELECT unreferenced_since FROM repository_blobs")
    assert [row[0] for row in rows] == [None, None]


async def test_a_round_goes_through_many_batches_and_two_share_it(process: Process) -> None:
    """Each blob is collected once, whoever takes it."""
    await push_blobs(process, LAYER)
    await process.database.execute(
        "WITH made AS (INSERT INTO repositories (registry_id, name) SELECT $1, 'r' || i FROM generate_series(1, 1500) i"
        " RETURNING id) "
        "INSERT INTO repository_blobs (repository_id, blob_id, digest, unreferenced_since) "
        "SELECT made.id, blobs.id, blobs.digest, now() - interval '2 days' FROM made, blobs",
        process.registry.id,
    )
    counted = dict.fromkeys(Event, 0)

    def tally(event: Event, number: int = 1, /) -> None:
        counted[event] += number

    both = [Collector(Collection(process.database, "test"), process.remover, KEEPING, (), tally) for _ in range(2)]

    one, two = await asyncio.gather(*(each.collect() for each in both))

    assert one + two == Collected(repository_blobs=1500)
    assert counted[Event.REPOSITORY_BLOBS] == 1500
    assert await process.content(Digest.of(LAYER)) == LAYER


async def test_nothing_is_collected_while_somebody_objects(process: Process) -> None:
    """Neither where a guard says so, nor where the bucket is another installation's by now."""
    await push_blobs(process, LAYER)
    await age(process, 2)

    assert await collector(process, Objector("the catalogue is ahead")).collect() == Collected()
    ours, foreign = (Markers(process.storage.buckets, name) for name in ("installation", "elsewhere"))
    await ours.claim(process.registry)
    try:
        assert await collector(process, foreign).collect() == Collected()
        assert await process.content(Digest.of(LAYER)) == LAYER
        assert (await collector(process, ours).collect()).blobs == 1
    finally:
        await ours.release(process.registry)


async def test_the_queue_is_what_is_due_in_living_registries(process: Process) -> None:
    """A registry that was deleted keeps what it has, and nobody waits for it."""
    index = Collection(process.database, "test")
    await delete(process, await push(process, "1", "v1"))
    assert await index.measure_queue(KEEPING) == Queue(0, 0, 0, 0)
    await process.database.execute("UPDATE repository_blobs SET unreferenced_since = now() - interval '30 hours'")
    await process.database.execute("UPDATE manifests SET deleted_at = now() - interval '8 days'")

    queue = await index.measure_queue(KEEPING)
    assert replace(queue, oldest_seconds=0) == Queue(1, 2, 0, 0)
    assert 86400 <= queue.oldest_seconds < 86500
    await process.database.execute("UPDATE registries SET deleted_at = now()")
    assert await index.measure_queue(KEEPING) == Queue(0, 0, 0, 0)
    assert await collector(process, keeping=NOTHING).collect() == Collected()

    await process.database.execute("UPDATE registries SET deleted_at = NULL")
    await collector(process, keeping=NOTHING).collect()
    assert await index.measure_queue(KEEPING) == Queue(0, 0, 2, 0)
    await process.remover.remove_all()
    assert await index.measure_queue(KEEPING) == Queue(0, 0, 0, 0)


async def test_a_round_is_one_process_s_turn(start_process: StartProcess) -> None:
    """Until its time is over, then somebody else's."""
    one, two = await start_process("first"), await start_process("second")
    first, second = Collection(one.database, "test"), Collection(two.database, "test")

    turns = await asyncio.gather(first.take_turn("collect", 600), second.take_turn("collect", 600))
    assert sorted(turns) == [False, True]
    assert await first.take_turn("another", 600)
    await one.database.execute("UPDATE turns SET taken_at = taken_at - interval '10 minutes'")
    assert await second.take_turn("collect", 600)
    assert not await first.take_turn("collect", 600)


async def test_bytes_are_counted_once(start_process: StartProcess) -> None:
    """By whichever process was the first to delete the object."""
    one, two = await start_process("first"), await start_process("second")
    await push_blobs(one, LAYER)
    await collector(one, keeping=NOTHING).collect()
    counted = dict.fromkeys(Event, 0)

    def tally(event: Event, number: int = 1, /) -> None:
        counted[event] += number

    await asyncio.gather(one.remover_with(tally=tally).remove_all(), two.remover_with(tally=tally).remove_all())
    await one.database.execute("UPDATE objects SET removed_at = now() - interval '1 hour'")
    await one.remover_with(tally=tally).remove_all()

    assert counted[Event.REMOVED_OBJECTS] == 1
    assert counted[Event.FREED_BYTES] == len(LAYER)
    assert await one.objects() == []
