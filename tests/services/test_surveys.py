"""Surveys: what differs between bucket and database is found, what is in motion is not, and repairs lose nothing."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from gateway.db.blobs import Blobs
from gateway.db.surveys import Surveys
from gateway.errors import BlobUnknown, ManifestBlobsUnknown, NotOffered, StorageUnavailable
from gateway.model.digest import Digest
from gateway.model.keys import objects_of
from gateway.model.names import RepositoryName
from gateway.model.surveys import Survey
from gateway.ports.storage import Location
from gateway.services import repairs, surveys
from gateway.services.markers import Markers
from gateway.services.repairs import Repairs
from gateway.services.surveys import Surveyor
from gateway.storage import filesystem, listing
from gateway.storage.filesystem import FilesystemStorage
from gateway.storage.s3 import S3Storage

from .conftest import ACTOR, PART_SIZE, REPOSITORY, Process, body
from .test_manifests import CONFIG, LAYER, image, index, push_blobs, push_manifest
from .test_sweeping import Objector

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator

    from gateway.model.ranges import ByteRange
    from gateway.ports.collection import Guard
    from gateway.ports.metadata import Registry
    from gateway.ports.storage import BlobContent, BlobStorage
    from gateway.ports.surveys import ObjectRow

CONTENTS = [b"%d" % number * 100 for number in range(7)]
UPLOAD = random.Random(1).randbytes(PART_SIZE + 1000)
OTHER = RepositoryName("another/app")


class Quiet:
    """Progress that adds up what it is told."""

    def __init__(self) -> None:
        self.steps: dict[str, list[int]] = {}

    def counting(self, doing: str, total: int) -> Any:
        return self._shown(doing, total)

    def reading(self, doing: str, total: int) -> Any:
        return self._shown(doing, total)

    @contextmanager
    def _shown(self, doing: str, total: int) -> Iterator[Callable[[int], None]]:
        self.steps[doing.partition(" ")[0]] = told = [total, 0]

        def advance(count: int) -> None:
            told[1] += count

        yield advance


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several pages and several rounds of doubts in every test."""
    monkeypatch.setattr(surveys, "_ROWS", 3)
    monkeypatch.setattr(surveys, "_DOUBTS", 2)
    monkeypatch.setattr(listing, "LISTED_AT_ONCE", 2)
    monkeypatch.setattr(filesystem, "LISTED_AT_ONCE", 2)


async def survey(
    process: Process,
    *,
    verify: bool = False,
    rows: Surveys | None = None,
    storage: BlobStorage | None = None,
    progress: Quiet | None = None,
) -> Survey:
    surveyor = Surveyor(rows or Surveys(process.database), storage or process.storage.port, progress or Quiet())
    found = Survey("team", process.registry.bucket)
    await surveyor.survey(process.registry, found, verify=verify)
    return found


async def repair(process: Process, found: Survey, *guards: Guard, orphans: bool = False, mark: bool = True) -> None:
    rows = Surveys(process.database)
    markers = Markers(process.storage.buckets, "installation")
    if mark:
        await remove(process, "slipway/registry.json")
        await markers.claim(process.registry)
    surveyor = Surveyor(rows, process.storage.port, Quiet())
    work = Repairs(rows, process.storage.port, surveyor, markers, guards)
    await work.repair(ACTOR, process.registry, found, orphans=orphans)


def counts(found: Survey) -> tuple[int, int, int]:
    return len(found.orphans), len(found.missing), len(found.damaged)


async def plant(process: Process, key: str, content: bytes) -> None:
    """Put bytes under a key behind everybody's back."""
    port = process.storage.port
    if isinstance(port, S3Storage):
        await port.put(Location(process.registry.bucket, key), [memoryview(bytearray(content))])
    else:
        assert isinstance(port, FilesystemStorage)
        path = port._root / process.registry.bucket / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


async def remove(process: Process, key: str) -> None:
    await process.storage.port.remove(Location(process.registry.bucket, key), None)


async def key_of(process: Process, content: bytes) -> str:
    row = await process.database.fetchrow(
        "SELECT key FROM objects JOIN blobs ON blobs.object_id = objects.id WHERE digest = $1", str(Digest.of(content))
    )
    assert row is not None
    return str(row["key"])


def own_key(process: Process, name: str = "f" * 32) -> str:
    return objects_of(process.registry.public_id) + name


# --- what is found -------------------------------------------------------------------------------


async def test_nothing_is_wrong(process: Process) -> None:
    """Blobs, uploads on their way and what is being removed are all explained; every row is counted once."""
    await push_blobs(process, *CONTENTS)
    session = await process.push.start(process.registry, REPOSITORY)
    await process.push.append(process.registry, REPOSITORY, session, body(UPLOAD))
    await process.database.execute("UPDATE repository_blobs SET deleted_at = now() WHERE id = 1")
    await plant(process, "slipway/" + "0" * 32 + "/objects/" + "a" * 32, b"of another registry")
    progress = Quiet()

    found = await survey(process, verify=True, progress=progress)

    assert counts(found) == (0, 0, 0)
    assert (found.objects, found.verified, found.notes) == (7, 7, [])
    assert progress.steps["Reading"] == [sum(map(len, CONTENTS))] * 2
    assert progress.steps["Comparing"] == [len(await process.objects())] * 2


async def test_everything_that_is_wrong(process: Process) -> None:
    """An object without a row, rows without their object, objects of another size: each is found, with its numbers."""
    await push_blobs(process, *CONTENTS)
    await plant(process, own_key(process, "0" * 32), b"first")
    await plant(process, own_key(process), b"last!!")
    await plant(process, f"slipway/{process.registry.public_id}/stray", b"strange")
    for content in CONTENTS[:3]:
        await remove(process, await key_of(process, content))
    await plant(process, await key_of(process, CONTENTS[4]), b"short")

    found = await survey(process)

    folder = f"slipway/{process.registry.public_id}/"
    assert {each.key.removeprefix(folder): each.size for each in found.orphans} == {
        "objects/" + "0" * 32: 5,
        "objects/" + "f" * 32: 6,
        "stray": 7,
    }
    assert {each.digest for each in found.missing} == {str(Digest.of(content)) for content in CONTENTS[:3]}
    (damaged,) = found.damaged
    assert (damaged.digest, damaged.size) == (str(Digest.of(CONTENTS[4])), 100)
    assert damaged.reason == "the object has 5 bytes"


async def test_a_bucket_that_is_empty(process: Process) -> None:
    """Every blob is missing, whatever the pages."""
    await push_blobs(process, *CONTENTS)
    for content in CONTENTS:
        await remove(process, await key_of(process, content))
    assert counts(await survey(process)) == (0, 7, 0)


async def test_other_content_of_the_same_size(process: Process) -> None:
    """Only reading it tells; what was told stays known, until it is read again and is right."""
    await push_blobs(process, *CONTENTS)
    key = await key_of(process, CONTENTS[2])
    await plant(process, key, CONTENTS[3])

    assert counts(await survey(process)) == (0, 0, 0)
    found = await survey(process, verify=True)
    assert [(each.key, each.reason) for each in found.damaged] == [(key, "the object has other content")]
    assert counts(await survey(process)) == (0, 0, 1)
    await plant(process, key, CONTENTS[2])
    assert counts(await survey(process, verify=True)) == (0, 0, 0)


async def test_what_is_affected(process: Process) -> None:
    """Repositories, the tags that lead to the blob, also through an index, and manifests without a tag."""
    await push_blobs(process, CONFIG, LAYER)
    child = await push_manifest(process, image())
    parent = await push_manifest(process, index(image()), "multi", "also")
    tagged = await push_manifest(process, image("tagged"), "v1")
    await process.push.mount(process.registry, OTHER, Digest.of(LAYER), REPOSITORY)
    await remove(process, await key_of(process, LAYER))

    (broken,) = (await survey(process)).missing

    assert broken.affected.repositories == (str(OTHER), str(REPOSITORY))
    assert sorted(broken.affected.tags) == [f"{REPOSITORY}:{tag}" for tag in ("also", "multi", "v1")]
    assert sorted(broken.affected.manifests) == sorted(f"{REPOSITORY}@{each}" for each in (child, parent, tagged))


# --- what is only in motion ----------------------------------------------------------------------


class Moving(Surveys):
    """Rows that change just after they were read for the first time, or just before they are read again."""

    def __init__(self, process: Process, *, after: Callable[[], Awaitable[None]]) -> None:
        super().__init__(process.database)
        self._after: Callable[[], Awaitable[None]] | None = after

    async def list_object_rows(self, registry: Registry, after: str, limit: int) -> list[ObjectRow]:
        found = await super().list_object_rows(registry, after, limit)
        change, self._after = self._after, None
        if change is not None:
            await change()
        return found


async def test_a_push_meanwhile(process: Process) -> None:
    """What was pushed after the rows were read, and before the bucket was listed, is no orphan."""
    rows = Moving(process, after=lambda: push_blobs(process, *CONTENTS))
    found = await survey(process, rows=rows)
    assert counts(found) == (0, 0, 0)
    assert process.everything()


async def test_a_deletion_meanwhile(process: Process) -> None:
    """What was deleted after the rows were read, and is gone when the bucket is listed, is not missing."""
    await push_blobs(process, *CONTENTS)

    async def delete() -> None:
        await process.database.execute("DELETE FROM repository_blobs")
        await process.database.execute("DELETE FROM blobs")
        await process.database.execute("UPDATE objects SET state = 'removing'")
        await process.remover.remove_all()

    assert counts(await survey(process, rows=Moving(process, after=delete))) == (0, 0, 0)
    assert process.everything() == []


async def test_a_removal_meanwhile(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was listed, and removed and forgotten before its row was asked for, is no orphan."""
    await plant(process, own_key(process), b"removed")
    rows = Surveys(process.database)

    async def fetch(keys: Collection[str]) -> dict[str, ObjectRow]:
        await remove(process, own_key(process))
        assert list(keys) == [own_key(process)]
        return {}

    monkeypatch.setattr(rows, "fetch_object_rows", fetch)
    assert counts(await survey(process, rows=rows)) == (0, 0, 0)


async def test_a_blob_that_gets_another_object_meanwhile(process: Process) -> None:
    """Nothing is said about an object that publishes nothing any more, and nothing is done to its blob."""
    await push_blobs(process, LAYER)
    await remove(process, await key_of(process, LAYER))
    found = await survey(process)
    await repair(process, found)
    before = await survey(process)
    await push_blobs(process, LAYER)

    await repair(process, before)

    assert [each.done for each in before.missing] == ["gone meanwhile"]
    assert await process.content(Digest.of(LAYER)) == LAYER


# --- reading everything again --------------------------------------------------------------------


class Counting:
    """A storage that counts what is opened, and fails from some object on."""

    def __init__(self, storage: BlobStorage, fail_after: int | None = None) -> None:
        self._storage = storage
        self._fail_after = fail_after
        self.opened: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    @asynccontextmanager
    async def open(self, location: Location, span: ByteRange) -> AsyncIterator[BlobContent]:
        if self._fail_after is not None and len(self.opened) >= self._fail_after:
            raise StorageUnavailable("made to fail")
        self.opened.append(location.key)
        async with self._storage.open(location, span) as content:
            yield content


async def test_an_interrupted_reading_goes_on_where_it_stopped(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is read twice, and what was found before the interruption is told after it."""
    monkeypatch.setattr(surveys, "_MOST_UNREAD", 0)
    monkeypatch.setattr(surveys, "_READ_AT_ONCE", 1)
    await push_blobs(process, *CONTENTS)
    keys = sorted([await key_of(process, content) for content in CONTENTS])
    await plant(process, keys[0], b"x" * 100)
    first: Any = Counting(process.storage.port, fail_after=4)
    with pytest.raises(StorageUnavailable):
        await survey(process, verify=True, storage=first)
    second: Any = Counting(process.storage.port)
    progress = Quiet()

    found = await survey(process, verify=True, storage=second, progress=progress)

    assert first.opened + second.opened == keys
    assert [each.key for each in found.damaged] == keys[:1]
    assert progress.steps["Reading"] == [700, 700]
    third: Any = Counting(process.storage.port)
    await survey(process, verify=True, storage=third)
    assert sorted(third.opened) == keys


async def test_a_disk_that_cannot_be_read_at_a_place(process: Process) -> None:
    """The blob that lies there is damaged, and the others are read."""
    await push_blobs(process, *CONTENTS)
    broken = await key_of(process, CONTENTS[1])

    class Broken(Counting):
        @asynccontextmanager
        async def open(self, location: Location, span: ByteRange) -> AsyncIterator[BlobContent]:
            if location.key == broken:
                raise OSError(5, "Input/output error")
            async with super().open(location, span) as content:
                yield content

    storage: Any = Broken(process.storage.port)
    found = await survey(process, verify=True, storage=storage)
    assert [each.key for each in found.damaged] == [broken]
    assert found.verified == 7


@pytest.mark.parametrize("error", [StorageUnavailable("reading failed: InternalError"), OSError(116, "Stale handle")])
async def test_an_object_that_cannot_be_read_now(process: Process, error: Exception) -> None:
    """It does not keep the others from being read, is not called damaged, and is what the next reading begins with."""
    await push_blobs(process, *CONTENTS)
    unread = await key_of(process, CONTENTS[1])

    class Failing(Counting):
        @asynccontextmanager
        async def open(self, location: Location, span: ByteRange) -> AsyncIterator[BlobContent]:
            if location.key == unread:
                raise error
            async with super().open(location, span) as content:
                yield content

    storage: Any = Failing(process.storage.port)
    found = await survey(process, verify=True, storage=storage)
    assert (found.verified, counts(found)) == (6, (0, 0, 0))
    assert found.failure.startswith("objects that could not be read: 1, ")

    again: Any = Counting(process.storage.port)
    found = await survey(process, verify=True, storage=again)
    assert (again.opened, found.failure) == ([unread], "")


async def test_a_storage_of_which_nothing_can_be_read(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody goes on asking it for ever."""
    monkeypatch.setattr(surveys, "_MOST_UNREAD", 2)
    monkeypatch.setattr(surveys, "_READ_AT_ONCE", 1)
    await push_blobs(process, *CONTENTS)
    asked: list[str] = []

    class Away(Counting):
        @asynccontextmanager
        async def open(self, location: Location, span: ByteRange) -> AsyncIterator[BlobContent]:
            del span
            asked.append(location.key)
            raise StorageUnavailable("away")
            yield

    storage: Any = Away(process.storage.port)
    with pytest.raises(StorageUnavailable, match="away"):
        await survey(process, verify=True, storage=storage)
    assert len(asked) == 3


# --- repairs -------------------------------------------------------------------------------------


@pytest.mark.parametrize("harm", ["missing", "size", "content"])
async def test_pushing_it_again_mends_a_blob(process: Process, harm: str) -> None:
    """A withdrawn blob is unknown to everybody, and one push gives it back to everybody who had it."""
    await push_blobs(process, CONFIG, LAYER)
    raw = image()
    digest = await push_manifest(process, raw, "v1")
    await process.push.mount(process.registry, OTHER, Digest.of(LAYER), REPOSITORY)
    key = await key_of(process, LAYER)
    if harm == "missing":
        await remove(process, key)
    else:
        await plant(process, key, b"bad" if harm == "size" else LAYER[::-1])

    await push_blobs(process, LAYER)
    assert await key_of(process, LAYER) == key, "before it is withdrawn, the old object is believed in"
    found = await survey(process, verify=True)
    assert counts(found) == ((0, 1, 0) if harm == "missing" else (0, 0, 1))
    await repair(process, found)

    assert [each.done for each in (*found.missing, *found.damaged)] == [
        "withdrawn: it is unknown until it is pushed again"
    ]
    for repository in (REPOSITORY, OTHER):
        with pytest.raises(BlobUnknown):
            await process.pull.find(process.registry, repository, Digest.of(LAYER))
    for source in (REPOSITORY, None):
        assert not await process.push.mount(process.registry, RepositoryName("third"), Digest.of(LAYER), source)
    with pytest.raises(ManifestBlobsUnknown, match=str(Digest.of(LAYER))):
        await push_manifest(process, image("new"))
    again = await survey(process)
    await repair(process, again)
    assert [each.done for each in (*again.missing, *again.damaged)] == [
        "withdrawn before: it has not been pushed again"
    ]

    await push_blobs(process, LAYER)

    assert await process.content(Digest.of(LAYER)) == LAYER
    assert await Blobs(process.database).fetch_blob(process.registry, OTHER, Digest.of(LAYER))
    assert (await process.manifests.find(process.registry, REPOSITORY, digest)).digest == digest
    assert counts(await survey(process, verify=True)) == (0, 0, 0)
    assert await key_of(process, LAYER) != key
    await process.remover.remove_all()
    assert key not in process.everything()
    lines = await process.database.fetch("SELECT action, object FROM audit_log WHERE action = 'blob.withdraw'")
    assert [line["object"] for line in lines] == [str(Digest.of(LAYER))]


async def test_an_object_that_comes_back(process: Process) -> None:
    """A withdrawn blob whose object was brought back, from a backup perhaps, is served again once it was read."""
    await push_blobs(process, LAYER)
    key = await key_of(process, LAYER)
    await remove(process, key)
    await repair(process, await survey(process))

    await plant(process, key, LAYER[::-1])
    wrong = await survey(process)
    await repair(process, wrong)
    # Nobody has read it when the reason is given.
    assert [(each.reason, each.done) for each in wrong.damaged] == [
        ("the object is there again", "withdrawn before: it has not been pushed again")
    ]
    await plant(process, key, LAYER)
    found = await survey(process)
    await repair(process, found)

    assert [(each.reason, each.done) for each in found.damaged] == [
        ("the object is there again", "served again: the object is whole")
    ]
    assert await process.content(Digest.of(LAYER)) == LAYER
    assert counts(await survey(process)) == (0, 0, 0)


async def test_nothing_is_repaired_in_a_bucket_that_is_not_marked_as_ours(process: Process) -> None:
    """Another disk may be mounted there."""
    await push_blobs(process, LAYER)
    await remove(process, await key_of(process, LAYER))
    await plant(process, own_key(process), b"orphan")
    found = await survey(process)
    await remove(process, "slipway/registry.json")

    await repair(process, found, orphans=True, mark=False)

    assert found.missing[0].done == found.orphans[0].done == ""
    assert found.notes[0].startswith("nothing was repaired")
    assert await process.pull.find(process.registry, REPOSITORY, Digest.of(LAYER))
    assert process.everything() == [own_key(process)]


async def test_nothing_is_repaired_in_a_bucket_that_was_taken_over(process: Process) -> None:
    """Starting this installation would not mark it as ours again."""
    await push_blobs(process, LAYER)
    await remove(process, await key_of(process, LAYER))
    found = await survey(process)
    await remove(process, "slipway/registry.json")
    await Markers(process.storage.buckets, "another").claim(process.registry)

    await repair(process, found, mark=False)

    assert found.missing[0].done == ""
    (note,) = found.notes
    assert note.startswith("nothing was repaired: the bucket")
    assert "belongs to a registry of another installation" in note


# --- orphans -------------------------------------------------------------------------------------


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is too young."""
    monkeypatch.setattr(repairs, "SETTLED", timedelta(seconds=-60))
    monkeypatch.setattr(surveys, "SETTLED", timedelta(seconds=-60))


@pytest.mark.usefixtures("settled")
async def test_orphans_are_removed_on_request(process: Process) -> None:
    """They alone, and nothing else of the bucket; names that Slipway never gives are left to people."""
    await push_blobs(process, *CONTENTS)
    strange = f"slipway/{process.registry.public_id}/objects/notes.txt"
    elsewhere = "slipway/" + "0" * 32 + "/objects/" + "a" * 32
    for key in (own_key(process), strange, elsewhere):
        await plant(process, key, b"orphan")
    kept = await survey(process)
    await repair(process, kept)
    assert [each.done for each in kept.orphans] == ["", ""]

    found = await survey(process)
    await repair(process, found, orphans=True)

    assert {each.key: each.done.split(":")[0] for each in found.orphans} == {
        own_key(process): "removed",
        strange: "left",
    }
    assert len(process.everything()) == 8
    assert process.storage.keys(elsewhere.rpartition("/")[0] + "/") == [elsewhere]
    await remove(process, strange)
    assert counts(await survey(process, verify=True)) == (0, 0, 0)


@pytest.mark.usefixtures("settled")
async def test_drafts_that_a_killed_process_has_left(process: Process) -> None:
    """They are orphans like others; catalogue segments, whose rows are elsewhere, are none."""
    folder = f"slipway/{process.registry.public_id}/catalogue/1/"
    segment = f"{folder}{'0' * 15}1-{'a' * 32}"
    draft = f"{folder}.{'0' * 15}1-{'a' * 32}-{'b' * 16}"
    for key in (segment, draft):
        await plant(process, key, b"content")
    found = await survey(process)
    await repair(process, found, orphans=True)
    assert [(each.key, each.done) for each in found.orphans] == [(draft, "removed")]
    assert process.everything() == [segment]


async def test_a_draft_that_is_being_written(process: Process) -> None:
    draft = f"slipway/{process.registry.public_id}/catalogue/1/.{'0' * 15}1-{'a' * 32}-{'b' * 16}"
    await plant(process, draft, b"content")
    assert counts(await survey(process)) == (0, 0, 0)


async def test_young_orphans_are_left(process: Process) -> None:
    """A call that is under way may still be explained."""
    await plant(process, own_key(process), b"orphan")
    found = await survey(process)
    await repair(process, found, orphans=True)
    assert [each.done for each in found.orphans] == ["left: it is younger than 20 minutes"]
    assert process.everything() == [own_key(process)]


@pytest.mark.usefixtures("settled")
async def test_an_orphan_that_a_row_names_by_now(process: Process) -> None:
    await plant(process, own_key(process), b"orphan")
    found = await survey(process)
    await process.database.execute(
        "INSERT INTO objects (registry_id, key, state) VALUES ($1, $2, 'removing')",
        process.registry.id,
        own_key(process),
    )
    await repair(process, found, orphans=True)
    assert [each.done for each in found.orphans] == ["gone meanwhile"]
    assert process.everything() == [own_key(process)]


@pytest.mark.usefixtures("settled")
async def test_orphans_are_left_where_somebody_objects(process: Process) -> None:
    """Missing blobs are left as well: the bucket may know more than the database."""
    await push_blobs(process, LAYER)
    await remove(process, await key_of(process, LAYER))
    await plant(process, own_key(process), b"orphan")
    found = await survey(process)

    await repair(process, found, Objector("not now"), orphans=True)

    assert found.notes == ["nothing was repaired: not now"]
    assert found.orphans[0].done == found.missing[0].done == ""
    assert process.everything() == [own_key(process)]


# --- multipart uploads ---------------------------------------------------------------------------


@pytest.fixture
def s3(process: Process) -> S3Storage | None:
    """The storage, where it has multipart uploads at all."""
    return process.storage.port if isinstance(process.storage.port, S3Storage) else None


@pytest.mark.usefixtures("settled")
async def test_multipart_uploads_that_no_session_has(process: Process, s3: S3Storage | None) -> None:
    """One under a key that nobody has used, and a second one under a blob's key, whose object stays."""
    await push_blobs(process, LAYER)
    session = await process.push.start(process.registry, REPOSITORY)
    await process.push.append(process.registry, REPOSITORY, session, body(UPLOAD))
    strays = [own_key(process), await key_of(process, LAYER)] if s3 else []
    begun = []
    for key in strays:
        assert s3 is not None
        begun.append((key, await s3.create_multipart(Location(process.registry.bucket, key))))

    found = await survey(process)
    assert sorted((each.key, each.multipart_id, each.size) for each in found.orphans) == sorted(
        (*each, None) for each in begun
    )
    await repair(process, found, orphans=True)

    assert [each.done for each in found.orphans] == ["removed"] * len(strays)
    assert counts(await survey(process)) == (0, 0, 0)
    assert await process.content(Digest.of(LAYER)) == LAYER
    await process.push.close(process.registry, REPOSITORY, session, body(), Digest.of(UPLOAD))


async def test_a_multipart_upload_that_was_just_begun(process: Process, s3: S3Storage | None) -> None:
    """Its id is not in the row yet, so it is not known whose it is; later it would be an orphan."""
    await process.database.execute(
        "INSERT INTO objects (registry_id, key, session_id) VALUES ($1, $2, gen_random_uuid())",
        process.registry.id,
        own_key(process),
    )
    if s3 is not None:
        multipart_id = await s3.create_multipart(Location(process.registry.bucket, own_key(process)))
    assert counts(await survey(process)) == (0, 0, 0)
    if s3 is not None:
        await s3.abort(Location(process.registry.bucket, own_key(process)), multipart_id)


async def test_a_storage_that_does_not_list_uploads(process: Process) -> None:
    """That is said; everything else is found out all the same."""
    await plant(process, own_key(process), b"orphan")

    class Silent(Counting):
        async def list_uploads(self, bucket: str, prefix: str) -> AsyncIterator[Any]:
            del bucket, prefix
            raise NotOffered("no such call")
            yield ()

    storage: Any = Silent(process.storage.port)
    found = await survey(process, storage=storage)
    assert counts(found) == (1, 0, 0)
    assert found.notes == ["the storage does not list multipart uploads: those that no row names stay unknown"]
