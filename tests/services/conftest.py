"""Services on a real database and real file storage, as several processes would have them."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from support.databases import Server, fresh_database
from support.postgres import running_postgres

from gateway.db.blobs import Blobs
from gateway.db.manifests import Manifests as ManifestRows
from gateway.db.objects import Objects
from gateway.db.registries import ensure_default_registry
from gateway.db.uploads import CHANNEL, Uploads
from gateway.errors import BodyCut
from gateway.model.names import RepositoryName
from gateway.model.ranges import ByteRange
from gateway.services.leases import Leases
from gateway.services.manifests import Manifests
from gateway.services.pull import Pull
from gateway.services.push import Body, Push
from gateway.services.removal import Remover
from gateway.services.verify import pieces
from gateway.storage.filesystem import FilesystemStorage

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from gateway.db.pool import Database
    from gateway.model.digest import Digest
    from gateway.ports.metadata import Registry

REPOSITORY = RepositoryName("team/app")


@dataclass
class Process:
    """The services of one process; several of them share a database and a storage."""

    database: Database
    storage: FilesystemStorage
    registry: Registry
    uploads: Uploads
    push: Push
    pull: Pull
    manifests: Manifests
    remover: Remover

    async def content(self, digest: Digest) -> bytes:
        """Pull a blob."""
        blob = await self.pull.find(self.registry, REPOSITORY, digest)
        if not blob.size:
            return b""
        async with self.pull.open(self.registry, blob, ByteRange(0, blob.size)) as content:
            return b"".join([bytes(piece) async for piece in pieces(content)])

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


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A Postgres server for the whole session."""
    with running_postgres() as dsn:
        yield Server(dsn)


@pytest.fixture
async def database(server: Server) -> AsyncIterator[Database]:
    """A migrated database that nobody else uses."""
    async with fresh_database(server) as database:
        yield database


@pytest.fixture
async def start_process(database: Database, tmp_path: Path) -> AsyncIterator[Callable[[str], Awaitable[Process]]]:
    """Return a function that starts the services of one more process."""
    async with AsyncExitStack() as stack:

        async def start(owner: str) -> Process:
            storage = FilesystemStorage(tmp_path, lock_seconds=5)
            await storage.check_bucket("bucket")
            registry = await ensure_default_registry(database, "filesystem", "bucket")
            uploads = Uploads(database, owner)
            leases = Leases(uploads)
            listener = await database.listen(CHANNEL, leases.heard)
            stack.push_async_callback(listener.aclose)
            blobs = Blobs(database)
            remover = Remover(Objects(database), storage)
            return Process(
                database,
                storage,
                registry,
                uploads,
                Push(uploads, blobs, storage, leases, remover),
                Pull(blobs, storage, redirects=False),
                Manifests(ManifestRows(database)),
                remover,
            )

        yield start


@pytest.fixture
async def process(start_process: Callable[[str], Awaitable[Process]]) -> Process:
    """The services of one process."""
    return await start_process("first")
