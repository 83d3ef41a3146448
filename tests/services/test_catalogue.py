"""The catalogue: everything that is known of images is in the bucket as well, soon, whole, and without growing on."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import orjson
import pytest

from gateway.db import catalogue
from gateway.db.catalogue import Catalogue, Limits
from gateway.db.registries import RegistryRows
from gateway.errors import StorageUnavailable, ValueRefused
from gateway.model.catalogue import Kind, Record, Segment, SegmentKey, catalogue_prefix, decode, segment_key
from gateway.model.digest import Digest
from gateway.model.names import Tag
from gateway.model.ranges import ByteRange
from gateway.ports.catalogue import Backlog
from gateway.ports.directory import RegistryChange
from gateway.ports.images import ImageChange
from gateway.ports.storage import Location
from gateway.services.catalogue import CatalogueGuard, CatalogueWriter, Standing
from gateway.services.markers import Markers
from gateway.services.verify import pieces
from support.stopping import ends_or_waits

from .conftest import ACTOR, REPOSITORY, Process, StartProcess
from .test_images import images_of
from .test_manifests import CONFIG, LAYER, image, push_blobs, push_manifest

if TYPE_CHECKING:
    from gateway.ports.storage import BlobStorage

State = dict[str, Any]


async def read_object(process: Process, key: str) -> bytes:
    location = Location(process.registry.bucket, key)
    size = await process.storage.port.stat(location)
    assert size
    async with process.storage.port.open(location, ByteRange(0, size)) as content:
        return b"".join([bytes(piece) async for piece in pieces(content)])


def segment_keys(process: Process) -> list[str]:
    """Keys of the segments in the bucket, in their order."""
    found = process.storage.keys(catalogue_prefix(process.registry.public_id))
    parsed = [SegmentKey.parse(key, process.registry.public_id) for key in found]
    return [each.key for each in sorted(each for each in parsed if each)]


async def segments(process: Process) -> list[Segment]:
    return [decode(await read_object(process, key)) for key in segment_keys(process)]


async def known(process: Process) -> dict[tuple[Kind, int], State]:
    """What a reader of the bucket knows, beginning where the last segment says; the chain is checked."""
    keys, found = segment_keys(process), await segments(process)
    for before, key, segment in zip([None, *keys], keys, found, strict=False):
        if segment.header.base != key and key != keys[0]:
            assert segment.header.previous == before
        assert (segment.header.registry, segment.header.generation) == (process.registry.public_id, 1)
    base = found[-1].header.base
    assert base in keys
    states: dict[tuple[Kind, int], State] = {}
    for segment in found[keys.index(base) :]:
        for record in segment.records:
            states.pop((record.kind, record.id), None)
            if record.state is not None:
                states[record.kind, record.id] = orjson.loads(record.state)
    return states


def of(states: dict[tuple[Kind, int], State], kind: Kind) -> list[State]:
    return [state for (found, _), state in sorted(states.items()) if found is kind]


def writer(process: Process, storage: BlobStorage | None = None, **limits: int) -> CatalogueWriter:
    """The writer of one more process."""
    port = storage or process.storage.port
    index = Catalogue(process.database, "test", Limits(**limits))
    markers = Markers(process.storage.buckets, "installation")
    return CatalogueWriter(index, port, markers, CatalogueGuard(index, port))


async def push(process: Process, note: str, *tags: str) -> Digest:
    await push_blobs(process, CONFIG, LAYER)
    return await push_manifest(process, image(note), *tags)


async def test_everything_is_in_the_bucket(process: Process) -> None:
    """Settings, descriptions, manifests byte for byte, tags, blobs with their objects, and what was deleted."""
    registries = RegistryRows(process.database)
    await registries.update_registry(ACTOR, "default", RegistryChange(public_pull=True), None)
    kept, gone = await push(process, 'ümläut \\u0000 " kept', "latest", "v1"), await push(process, "gone", "old")
    images = images_of(process)
    change = ImageChange(short_description="short", description="# long", tags_mutable=False)
    await images.update(ACTOR, process.registry, REPOSITORY, change, None)
    await images.delete_reference(ACTOR, process.registry, REPOSITORY, gone)

    await process.catalogue.flush(process.registry)

    states = await known(process)
    (registry,), (repository,) = of(states, Kind.REGISTRY), of(states, Kind.REPOSITORY)
    assert (registry["name"], registry["public_pull"], registry["public_networks"]) == ("default", True, [])
    assert (repository["name"], repository["short_description"], repository["description"]) == (
        "team/app",
        "short",
        "# long",
    )
    assert repository["tags_mutable"] is False
    manifests = {state["digest"]: state for state in of(states, Kind.MANIFEST)}
    assert manifests[str(kept)]["raw"].encode() == image('ümläut \\u0000 " kept')
    assert manifests[str(kept)]["deleted_at"] is None
    assert (manifests[str(kept)]["kind"], manifests[str(kept)]["pushed_by"]) == ("image", ACTOR.account)
    assert manifests[str(gone)]["deleted_at"] is not None
    ((deletion_id, deletion),) = [(each, state) for (kind, each), state in states.items() if kind is Kind.DELETION]
    assert (deletion["kind"], deletion["digest"], deletion["deleted_by"]) == ("manifest", str(gone), ACTOR.account)
    tags = {state["name"]: state for state in of(states, Kind.TAG)}
    assert tags.keys() == {"latest", "v1", "old"}
    assert tags["old"]["deletion"] == manifests[str(gone)]["deletion"] == deletion_id
    blobs = {state["digest"]: state for state in of(states, Kind.BLOB)}
    assert {(digest, state["size"]) for digest, state in blobs.items()} == {
        (str(Digest.of(each)), len(each)) for each in (CONFIG, LAYER)
    }
    for state in blobs.values():
        assert Digest.of(await read_object(process, state["key"])) == Digest.parse(state["digest"])
    assert {state["digest"] for state in of(states, Kind.REPOSITORY_BLOB)} == blobs.keys()


async def test_a_change_is_one_more_segment(process: Process) -> None:
    """It holds what has changed, and what is gone from the database is gone."""
    digest = await push(process, "1", "v1")
    await process.catalogue.flush(process.registry)
    before = segment_keys(process)
    await push_manifest(process, image("1"), "v2")
    await process.catalogue.flush(process.registry)

    (key,) = set(segment_keys(process)) - set(before)
    segment = decode(await read_object(process, key))
    assert [record.kind for record in segment.records] == [Kind.TAG]
    await process.database.execute("DELETE FROM tags WHERE name = 'v1'")
    await process.catalogue.flush(process.registry)
    assert [state["name"] for state in of(await known(process), Kind.TAG)] == ["v2"]
    assert (await process.manifests.find(process.registry, REPOSITORY, Tag("v2"))).digest == digest


async def test_what_is_not_in_the_catalogue_writes_nothing(process: Process) -> None:
    """Pulls, times without references, pushing the same again without a tag, and looking at an image."""
    digest = await push(process, "1", "v1")
    await process.catalogue.flush(process.registry)

    await push_blobs(process, CONFIG, LAYER)
    await process.database.execute("UPDATE repository_blobs SET unreferenced_since = now()")
    await push_manifest(process, image("1"), digest=digest)
    await images_of(process).tags(process.registry, REPOSITORY, "", "name", None, 10)  # type: ignore[arg-type]
    await process.database.execute("UPDATE repositories SET changed_at = now()")

    assert await process.database.fetch("SELECT * FROM catalogue_outbox") == []


async def test_every_column_is_in_the_catalogue_or_left_out_on_purpose(process: Process) -> None:
    """A new column of these tables has to be added to the catalogue, or to this list."""
    await push(process, "1", "v1")
    await images_of(process).delete_reference(ACTOR, process.registry, REPOSITORY, Tag("v1"))
    await process.catalogue.flush(process.registry)
    renamed = {
        "deletion_id": "deletion",
        "repository_id": "repository",
        "manifest_id": "manifest",
        "blob_id": "blob",
        "object_id": "key",
    }
    left_out = {
        "registries": {
            *("id", "public_id", "storage", "bucket", "generation", "is_default", "created_at", "deleted_at"),
            *("private_label", "version"),
        },
        "repositories": {"id", "registry_id", "version", "untagged_from"},
        "deletions": {"id", "registry_id"},
        "blobs": {"id", "registry_id"},
        # These are in the manifest itself, or are found out when it is shown.
        "manifests": {"id", "subject_digest", "artifact_type", "annotations", "content_size", "platforms"},
        "tags": {"id", "replaced_manifest_id"},
        "repository_blobs": {"id", "unreferenced_since"},
    }
    kinds = dict(zip(left_out, Kind, strict=True))
    states = await known(process)
    for table, ignored in left_out.items():
        rows = await process.database.fetch(
            "SELECT column_name AS name FROM information_schema.columns WHERE table_name = $1", table
        )
        wanted = {renamed.get(row["name"], row["name"]) for row in rows if row["name"] not in ignored}
        assert of(states, kinds[table])[0].keys() == wanted, table


async def test_a_registry_of_before_gets_a_catalogue(process: Process) -> None:
    """Everything that was there before there were catalogues is written by the first round, in bounded segments."""
    digests = {str(await push(process, str(number), f"v{number}")) for number in range(12)}
    await process.database.execute("TRUNCATE catalogue_outbox")

    await writer(process, records=5).write_all()

    states = await known(process)
    assert {state["digest"] for state in of(states, Kind.MANIFEST)} == digests
    assert len(of(states, Kind.TAG)) == 12
    assert max(len(segment.records) for segment in await segments(process)) <= 5


def missing(states: dict[tuple[Kind, int], State]) -> list[State]:
    """What refers to something that is not there: whoever takes the bucket over now would not bring it back."""
    referring = ("repository", "deletion", "blob", "manifest")
    return [
        state
        for state in states.values()
        if any(state.get(each) and (Kind(each), state[each]) not in states for each in referring)
    ]


async def test_what_a_segment_refers_to_is_there(process: Process) -> None:
    """Also where it does not hold all that waits: a tag is where it was until the manifest that it has now is there."""
    await push(process, "1", "latest")
    await process.catalogue.flush(process.registry)
    for note in "2345":
        await push(process, note, "latest")
    index = Catalogue(process.database, process.storage.buckets.name, Limits(records=2))

    while drawn := await index.draw(process.registry):
        await process.storage.port.store(Location(process.registry.bucket, drawn.key), drawn.content)
        await index.record_stored(process.registry, drawn.key)
        assert missing(await known(process)) == []

    states = await known(process)
    (tag,) = of(states, Kind.TAG)
    assert states[Kind.MANIFEST, tag["manifest"]]["digest"] == str(Digest.of(image("5")))
    assert len(of(states, Kind.MANIFEST)) == 5


async def test_a_push_while_a_segment_is_drawn(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it is in the segment, or nothing: a tag without its manifest would be lost with the database."""
    await push(process, "1", "latest")
    await process.catalogue.flush(process.registry)
    await push(process, "2", "latest")
    read = catalogue._records

    async def read_after_a_push(*arguments: Any) -> list[Record]:
        await push(process, "3", "latest")
        return await read(*arguments)

    monkeypatch.setattr(catalogue, "_records", read_after_a_push)
    index = Catalogue(process.database, process.storage.buckets.name)
    drawn = await index.draw(process.registry)
    assert drawn is not None
    await process.storage.port.store(Location(process.registry.bucket, drawn.key), drawn.content)

    assert missing(await known(process)) == []


async def test_large_manifests_are_spread_over_segments(process: Process) -> None:
    """A segment takes what fits, and always one."""
    await push_blobs(process, CONFIG, LAYER)
    for number in range(6):
        await push_manifest(process, image("x" * 10_000 + str(number)))

    small = writer(process, size=15_000)
    await small.flush(process.registry)

    sizes = [sum(len(record.state or "") for record in each.records) for each in await segments(process)]
    assert max(sizes) < 40_000
    assert len(of(await known(process), Kind.MANIFEST)) == 6


async def test_the_catalogue_does_not_grow_on(process: Process) -> None:
    """When the log has become long, everything is written anew, and what was before is removed."""
    compact = writer(process, least_log=1000, growth=1, records=4)
    digest = await push(process, "0", "v1")
    counts = []
    for number in range(1, 41):
        await push_manifest(process, image(str(number % 2)), "v1")
        await compact.flush(process.registry)
        await process.remover.remove_all()
        counts.append(len(segment_keys(process)))

    assert sum(later < before for before, later in pairwise(counts)) > 2
    assert max(counts[20:]) <= max(counts[:20])
    states = await known(process)
    assert len(of(states, Kind.MANIFEST)) == 2
    assert str(digest) in {state["digest"] for state in of(states, Kind.MANIFEST)}
    named = await process.database.fetch("SELECT key FROM catalogue_segments")
    assert {row["key"] for row in named} == set(segment_keys(process))


class Failing:
    """A storage whose answers to ``store`` are lost as often as is said, after or before it has stored."""

    def __init__(self, storage: BlobStorage, *, stores: bool) -> None:
        self._storage = storage
        self._stores = stores
        self.failures = 1
        self.tried: list[tuple[str, bytes]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    async def store(self, location: Location, content: bytes) -> None:
        self.tried.append((location.key, content))
        if self.failures and not self._stores:
            self.failures -= 1
            raise StorageUnavailable("not now")
        await self._storage.store(location, content)
        if self.failures:
            self.failures -= 1
            raise StorageUnavailable("the answer was lost")


@pytest.mark.parametrize("stores", [True, False])
async def test_a_segment_whose_answer_is_lost_is_stored_again(process: Process, stores: bool) -> None:
    """Under the same key, with the same bytes, by whoever comes next; nothing is missing or twice in the chain."""
    failing = Failing(process.storage.port, stores=stores)
    await push(process, "1", "v1")
    first = writer(process, cast("BlobStorage", failing))
    with pytest.raises(StorageUnavailable):
        await first.flush(process.registry)
    await push(process, "2", "v2")

    second = Failing(process.storage.port, stores=True)
    second.failures = 0
    await writer(process, cast("BlobStorage", second)).flush(process.registry)

    assert second.tried[0] == failing.tried[0]
    assert {state["name"] for state in of(await known(process), Kind.TAG)} == {"v1", "v2"}
    numbers = [segment.header.seq for segment in await segments(process)]
    assert numbers == list(range(1, len(numbers) + 1))


async def test_several_processes_write_one_chain(start_process: StartProcess) -> None:
    """Whoever comes first draws; nothing is lost, twice or out of order while images are pushed all the time."""
    processes = [await start_process(f"{number}") for number in range(3)]
    first = processes[0]

    async def write(process: Process) -> None:
        for _ in range(10):
            await process.catalogue.flush(process.registry)

    async def fill(process: Process, name: str) -> None:
        await push_blobs(process, CONFIG, LAYER)
        for number in range(10):
            await push_manifest(process, image(f"{name}{number}"), f"{name}{number}")

    await asyncio.gather(
        *(write(each) for each in processes), *(fill(each, n) for each, n in zip(processes, "abc", strict=True))
    )
    await first.catalogue.flush(first.registry)

    states = await known(first)
    assert {state["name"] for state in of(states, Kind.TAG)} == {f"{n}{i}" for n in "abc" for i in range(10)}
    numbers = [segment.header.seq for segment in await segments(first)]
    assert numbers == list(range(1, len(numbers) + 1))


async def test_a_segment_is_stored_by_whoever_has_drawn_it(process: Process) -> None:
    """Until it must be taken for dead, or somebody wants it in the bucket at once."""
    await push(process, "1", "v1")
    index = Catalogue(process.database, process.storage.buckets.name)
    drawn = await index.draw(process.registry)
    assert drawn is not None

    assert await index.draw(process.registry) is None
    assert await index.draw(process.registry, at_once=True) == replace(drawn, is_full=True)
    await process.database.execute("UPDATE catalogue_segments SET attempted_at = now() - interval '11 seconds'")
    assert await index.draw(process.registry) == replace(drawn, is_full=True)


async def test_nobody_waits_for_whoever_draws(process: Process) -> None:
    """Who does so writes what all have done."""
    await push(process, "1", "v1")
    await process.catalogue.flush(process.registry)
    await push(process, "2", "v2")
    index = Catalogue(process.database, process.storage.buckets.name)
    async with process.database.connection() as connection, connection.transaction():
        await connection.fetch("SELECT FROM catalogue_states FOR UPDATE")
        drawing = asyncio.create_task(index.draw(process.registry))
        await ends_or_waits(process.database, drawing)

        assert drawing.done()
        assert drawing.result() is None

    assert await index.draw(process.registry) is not None


async def test_a_bucket_that_is_ahead_is_left_alone(process: Process) -> None:
    """A database from a backup neither writes to the catalogue nor removes objects, and says what to do."""
    await push(process, "1", "v1")
    await process.catalogue.flush(process.registry)
    await process.database.execute("CREATE TABLE backup AS SELECT * FROM catalogue_segments")
    state = await process.database.fetchrow("SELECT seq, last_key FROM catalogue_states")
    assert state is not None
    await push(process, "2", "v2")
    await process.catalogue.flush(process.registry)
    keys = segment_keys(process)
    await process.database.execute("DELETE FROM catalogue_segments WHERE key NOT IN (SELECT key FROM backup)")
    await process.database.execute("UPDATE catalogue_states SET seq = $1, last_key = $2", *state)
    await push(process, "3", "v3")

    fresh = writer(process)
    assert await fresh.guard.look(process.registry) is Standing.AHEAD
    with pytest.raises(ValueRefused, match="slipway registry reconcile"):
        await fresh.flush(process.registry)
    await fresh.write_all()
    assert segment_keys(process) == keys
    await process.database.execute("UPDATE objects SET state = 'removing' WHERE id = (SELECT min(id) FROM objects)")
    await process.remover_with(fresh.guard).remove_all()
    assert await process.database.fetch("SELECT FROM objects WHERE removed_at IS NOT NULL") == []


async def test_how_many_buckets_are_ahead(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as this process has looked, and not for ever: another one may have seen that all is well again."""
    guard = writer(process).guard
    assert (await guard.objection(process.registry), guard.ahead) == (None, 0)
    unknown = segment_key(process.registry.public_id, 1, 9, "0" * 32)
    await process.storage.port.store(Location(process.registry.bucket, unknown), b"segment")
    guard.forget(process.registry)
    assert await guard.objection(process.registry) is not None
    assert guard.ahead == 1

    monkeypatch.setattr("gateway.services.catalogue._SECONDS_TO_BELIEVE", -60)
    assert guard.ahead == 0


async def test_what_waits_is_measured(process: Process) -> None:
    """Changes, and since when they have waited; also as a segment that was drawn and could not be stored."""
    await push(process, "1", "v1")
    await process.database.execute("UPDATE catalogue_outbox SET noted_at = noted_at - interval '1 hour'")
    (waiting,) = await process.database.fetch("SELECT count(*) AS changes FROM catalogue_outbox")
    before = await process.catalogue.measure()

    failing = Failing(process.storage.port, stores=False)
    with pytest.raises(StorageUnavailable):
        await writer(process, cast("BlobStorage", failing)).flush(process.registry)
    await process.database.execute("UPDATE catalogue_states SET drawn_at = drawn_at - interval '2 hours'")
    drawn = await process.catalogue.measure()
    await process.catalogue.flush(process.registry)
    after = await process.catalogue.measure()

    assert before is not None
    assert drawn is not None
    assert before.changes == waiting["changes"] > 0
    assert 3600 <= before.oldest_seconds < 7200
    assert drawn.oldest_seconds >= 7200
    assert after == Backlog(0, 0.0)


async def test_a_catalogue_that_has_lost_its_end_is_written_anew(process: Process) -> None:
    """The database knows more than the bucket: nothing stops."""
    await push(process, "1", "v1")
    await process.catalogue.flush(process.registry)
    await process.storage.port.remove(Location(process.registry.bucket, segment_keys(process)[-1]), None)

    fresh = writer(process)
    assert await fresh.guard.look(process.registry) is Standing.CUT
    await fresh.flush(process.registry)

    assert [state["name"] for state in of(await known(process), Kind.TAG)] == ["v1"]


async def test_a_registry_that_somebody_else_has_taken_over_is_not_written(process: Process) -> None:
    """Their catalogue is the true one."""
    markers = Markers(process.storage.buckets, "theirs")
    await markers.claim(replace(process.registry, generation=2))
    await push(process, "1", "v1")

    await writer(process).write_all()

    assert segment_keys(process) == []
