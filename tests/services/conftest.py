"""Services on a real database and real file storage, as several processes would have them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from gateway.db.blobs import Blobs
from gateway.db.catalogue import Catalogue
from gateway.db.manifests import Manifests as ManifestRows
from gateway.db.objects import Objects
from gateway.db.owners import Owner
from gateway.db.registries import ensure_default_registry
from gateway.db.uploads import CHANNEL, Uploads
from gateway.errors import BodyCut
from gateway.model.access import Actor
from gateway.model.endpoints import Delivery
from gateway.model.names import RepositoryName
from gateway.model.ranges import ByteRange
from gateway.ports.buckets import MARKER_KEY
from gateway.services.catalogue import CatalogueGuard, CatalogueWriter
from gateway.services.leases import Leases
from gateway.services.manifests import Manifests
from gateway.services.markers import Markers
from gateway.services.pull import Pull
from gateway.services.push import Push
from gateway.services.removal import Remover
from gateway.services.tallies import uncounted
from gateway.services.upload import Body
from gateway.services.verify import pieces
from gateway.storage.file_buckets import FileBuckets
from gateway.storage.filesystem import FilesystemStorage
from gateway.storage.s3 import S3Settings, S3Storage
from gateway.storage.s3_buckets import S3Buckets
from support.databases import Server, fresh_database

from .installation import Office, open_office

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.db.pool import Database
    from gateway.model.digest import Digest
    from gateway.ports.buckets import BucketKeeper
    from gateway.ports.collection import Guard, Tally
    from gateway.ports.metadata import Registry
    from gateway.ports.storage import BlobStorage
    from support.seaweed import SeaweedFS

REPOSITORY = RepositoryName("team/app")
ACTOR = Actor(None, "open", address="127.0.0.1")
BUCKET = "services"
PART_SIZE = 5 * 1024 * 1024  # the least that S3 services take

COUNTERS = {
    "manifest_pulls": "SELECT id, 1, now() FROM manifests",
    "tag_resolutions": "SELECT id, 1, now() FROM tags",
    "resolution_history": "SELECT id, now(), 1, 1 FROM tags",
    "pull_history": "SELECT repository_id, now(), 1, id, 0, 1 FROM manifests",
}
"""Tables that count pulls, and one pull of everything that there is."""


@dataclass
class Storage:
    """A storage, and a way to see everything that lies in its bucket."""

    port: BlobStorage
    buckets: BucketKeeper
    keys: Callable[[str], list[str]]
    """Keys below a prefix: of objects, and of multipart uploads that nobody has completed or aborted."""


@dataclass
class Process:
    """The services of one process; several of them share a database and a storage."""

    database: Database
    storage: Storage
    registry: Registry
    uploads: Uploads
    leases: Leases
    push: Push
    pull: Pull
    manifests: Manifests
    remover: Remover
    catalogue: CatalogueWriter

    async def content(self, digest: Digest) -> bytes:
        """Pull a blob."""
        blob = await self.pull.find(self.registry, REPOSITORY, digest)
        if not blob.size:
            return b""
        async with self.pull.open(self.registry, blob, ByteRange(0, blob.size)) as content:
            return b"".join([bytes(piece) async for piece in pieces(content)])

    def everything(self) -> list[str]:
        """Keys of everything that the registry has in the storage."""
        return self.storage.keys(f"slipway/{self.registry.public_id}/")

    def remover_with(self, *guards: Guard, tally: Tally = uncounted) -> Remover:
        """Return what removes objects unless somebody objects, and counts them."""
        markers = Markers(self.storage.buckets, "installation")
        return Remover(Objects(self.database, "test"), self.storage.port, markers, guards, tally)

    def catalogue_of(self, installation: str) -> CatalogueWriter:
        """Return what writes the catalogues of registries in buckets of an installation of that name."""
        index = Catalogue(self.database, self.storage.buckets.name)
        guard = CatalogueGuard(index, self.storage.port)
        return CatalogueWriter(index, self.storage.port, Markers(self.storage.buckets, installation), guard)

    def remover_of(self, installation: str) -> Remover:
        """Return what removes their objects."""
        objects = Objects(self.database, self.storage.buckets.name)
        return Remover(objects, self.storage.port, Markers(self.storage.buckets, installation))

    async def count_a_pull_of_each(self) -> None:
        """Make a row in every table of counters for each manifest and each tag."""
        for table, rows in COUNTERS.items():
            await self.database.execute(f"INSERT INTO {table} {rows}")

    async def objects(self) -> list[tuple[str, str]]:
        """State and key of every object that the database knows."""
        rows = await self.database.fetch("SELECT state, key FROM objects ORDER BY id")
        return [(row["state"], row["key"]) for row in rows]


class Source:
    """A body made of pieces; ``None`` among them stands for a connection that is cut there."""

    def __init__(self, *parts: bytes | None, before_end: Callable[[], Awaitable[None]] | None = None) -> None:
        self._parts = list(parts)
        self._before_end = before_end

    async def receive_into(self, buffer: memoryview) -> int:
        while self._parts and self._parts[0] == b"":
            del self._parts[0]
        if not self._parts:
            if self._before_end is not None:
                await self._before_end()
            return 0
        part = self._parts[0]
        if part is None:
            raise BodyCut("the connection ended in the middle of the body")
        count = min(len(part), len(buffer))
        buffer[:count] = part[:count]
        self._parts[0] = part[count:]
        return count

    def receive_now(self, buffer: memoryview) -> int:
        if not self._parts or not (part := self._parts[0]):
            return 0
        count = min(len(part), len(buffer))
        buffer[:count] = part[:count]
        self._parts[0] = part[count:]
        return count


class Held(Source):
    """A body that stops after some bytes until it is let go; ``reached`` is set when it has stopped."""

    def __init__(self, reached: asyncio.Event, go_on: asyncio.Event, *parts: bytes) -> None:
        async def wait() -> None:
            reached.set()
            await go_on.wait()

        super().__init__(*parts, before_end=wait)


def body(*parts: bytes | None, start: int | None = None) -> Body:
    """Make a body, with a Content-Range that begins at ``start`` if one is given."""
    length = sum(len(part) for part in parts if part is not None)
    return Body(Source(*parts), length, None if start is None else ByteRange(start, start + length))


StartProcess = Callable[[str | Owner], Awaitable[Process]]
"""Starts the services of one more process, by its place or its whole name."""


@pytest.fixture
async def database(embedded_server: Server) -> AsyncIterator[Database]:
    """A migrated database that nobody else uses."""
    async with fresh_database(embedded_server) as database:
        yield database


@pytest.fixture
async def office(database: Database) -> Office:
    """An installation with a root account."""
    return await open_office(database)


@pytest.fixture(params=["filesystem", "s3"])
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storage]:
    """A storage with a bucket; every test runs on both."""
    if request.param == "filesystem":
        files = FilesystemStorage(tmp_path, lock_seconds=5)
        await files.check_bucket(BUCKET)
        yield Storage(files, FileBuckets(tmp_path, files), lambda prefix: _files(tmp_path / BUCKET, prefix))
        return
    seaweed: SeaweedFS = request.getfixturevalue("seaweed")
    _forget_owner(seaweed)
    settings = S3Settings(
        seaweed.endpoint_url, seaweed.region, seaweed.access_key, seaweed.secret_key, part_size=PART_SIZE
    )
    async with S3Storage(settings) as s3:
        yield Storage(s3, S3Buckets(s3), lambda prefix: _objects_and_uploads(seaweed, prefix))


@pytest.fixture(scope="session")
def seaweed(seaweed: SeaweedFS) -> SeaweedFS:
    """The suite's S3 server, with a bucket for this folder."""
    seaweed.create_bucket(BUCKET)
    return seaweed


def _files(bucket: Path, prefix: str) -> list[str]:
    return [str(path.relative_to(bucket)) for path in (bucket / prefix).rglob("*") if path.is_file()]


def _forget_owner(seaweed: SeaweedFS) -> None:
    """Remove the marker of whoever had the bucket in the test before."""
    client = seaweed.client()
    try:
        client.delete_object(Bucket=BUCKET, Key=MARKER_KEY)
    finally:
        client.close()


def _objects_and_uploads(seaweed: SeaweedFS, prefix: str) -> list[str]:
    client = seaweed.client()
    try:
        objects = client.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
        uploads = client.list_multipart_uploads(Bucket=BUCKET, Prefix=prefix).get("Uploads", [])
    finally:
        client.close()
    return [entry["Key"] for entry in [*objects, *uploads]]


async def open_process(
    stack: AsyncExitStack, database: Database, storage: Storage, owner: str | Owner = "first"
) -> Process:
    """Start the services of one more process of the installation that a database is."""
    registry = await ensure_default_registry(database, "test", BUCKET)
    uploads = Uploads(database, owner if isinstance(owner, Owner) else Owner.here(owner))
    leases = Leases(uploads)
    listener = await database.listen({CHANNEL: leases.heard})
    stack.push_async_callback(listener.aclose)
    blobs = Blobs(database)
    markers = Markers(storage.buckets, "installation")
    catalogue = Catalogue(database, "test")
    remover = Remover(Objects(database, "test"), storage.port, markers)
    return Process(
        database,
        storage,
        registry,
        uploads,
        leases,
        Push(uploads, blobs, storage.port, leases, remover),
        Pull(blobs, storage.port, Delivery.PROXY),
        Manifests(ManifestRows(database)),
        remover,
        CatalogueWriter(catalogue, storage.port, markers, CatalogueGuard(catalogue, storage.port)),
    )


@pytest.fixture
async def start_process(database: Database, storage: Storage) -> AsyncIterator[StartProcess]:
    """Return a function that starts the services of one more process."""
    async with AsyncExitStack() as stack:
        yield lambda owner: open_process(stack, database, storage, owner)


@pytest.fixture
async def process(start_process: StartProcess) -> Process:
    """The services of one process."""
    return await start_process("first")
