"""Bringing back what a catalogue says: records are gathered in a table, and become rows batch by batch.

Each kind comes behind those that it refers to, and of each kind first what is deleted, so that names are free for what
has them now. A batch is one transaction, which finds out which rows its records are, or become, and writes them.
"""

from __future__ import annotations

from collections import Counter
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import asyncpg
import orjson

from gateway.db.catalogue_gone import drop_gone
from gateway.db.coalesce import discard
from gateway.db.manifests import insert_references
from gateway.db.pool import rows_of
from gateway.db.restoring import lock_blobs_of
from gateway.db.statements import statement
from gateway.errors import AlreadyTaken, DatabaseUnavailable, ManifestInvalid, ValueRefused
from gateway.model.catalogue import Kind
from gateway.model.digest import Digest
from gateway.model.keys import objects_of
from gateway.model.manifest import Manifest
from gateway.ports.catalogue import Brought

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from gateway.db.pool import Connection, Database
    from gateway.model.catalogue import Record
    from gateway.ports.catalogue import Report
    from gateway.ports.metadata import Registry

_TRY_TO_REPLAY_ALONE = statement("try_to_replay_alone")
_REPLAY_NO_LONGER_ALONE = statement("replay_no_longer_alone")
_STAGE_RECORDS = statement("stage_records")
_CLEAR_STAGING = statement("clear_staging")
_PAGE_STAGING = statement("page_staging")
_ANALYZE_STAGING = statement("analyze_staging")
_COUNT_STAGING = statement("count_staging")
_FETCH_STAGED_SETTINGS = statement("fetch_staged_settings")
_PAGE_PRESENT = statement("page_present")
_STAGE_ABSENT = statement("stage_absent")
_MATCH_DELETIONS = statement("match_deletions")
_MATCH_REPOSITORIES = statement("match_repositories")
_MATCH_BLOBS = statement("match_blobs")
_MATCH_MANIFESTS = statement("match_manifests")
_MATCH_TAGS = statement("match_tags")
_MATCH_REPOSITORY_BLOBS = statement("match_repository_blobs")
_KEEP_CHANGED_ROWS = statement("keep_changed_rows")
_COUNT_NEW = statement("count_new")
_BRING_REPOSITORIES = statement("bring_repositories")
_BRING_REPOSITORY_PULLS = statement("bring_repository_pulls")
_BRING_DELETIONS = statement("bring_deletions")
_BRING_OBJECTS = statement("bring_objects")
_END_FINISHED_UPLOADS = statement("end_finished_uploads")
_BRING_BLOBS = statement("bring_blobs")
_UPDATE_BROUGHT_BLOBS = statement("update_brought_blobs")
_UPDATE_BROUGHT_MANIFESTS = statement("update_brought_manifests")
_MOVE_REFERENCES_OF_BROUGHT = statement("move_references_of_brought")
_FETCH_NEW_MANIFESTS = statement("fetch_new_manifests")
_BRING_MANIFEST = statement("bring_manifest")
_BRING_TAGS = statement("bring_tags")
_BRING_REPOSITORY_BLOBS = statement("bring_repository_blobs")
_PAGE_BROUGHT_REPOSITORIES = statement("page_brought_repositories")
_SETTLE_REFERENCES = statement("settle_references")
_SETTLE_CHANGES = statement("settle_changes")

_MATCH = {
    Kind.REPOSITORY: _MATCH_REPOSITORIES,
    Kind.DELETION: _MATCH_DELETIONS,
    Kind.BLOB: _MATCH_BLOBS,
    Kind.MANIFEST: _MATCH_MANIFESTS,
    Kind.TAG: _MATCH_TAGS,
    Kind.REPOSITORY_BLOB: _MATCH_REPOSITORY_BLOBS,
}
_BATCH = 1000
# Manifests have up to 4 MiB each, and a batch of them lies in memory whole.
_MANIFESTS = 20
_ATTEMPTS = 5
# Before every row: no id of a catalogue means one of ours.
_NEVER = datetime(1, 1, 1, tzinfo=UTC)


class CatalogueReplays:
    """Implements ports.catalogue.CatalogueReplay."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def alone(self, public_id: str) -> AsyncIterator[None]:
        """See the port; the connection is held, so that a process that dies lets go."""
        async with self._database.connection() as connection:
            if not await connection.fetchval(_TRY_TO_REPLAY_ALONE, public_id):
                raise AlreadyTaken(
                    "images of this registry are being brought back from its bucket at this moment: wait until that "
                    "has ended, and see whether they are there"
                )
            try:
                yield
            finally:
                await _let_go(connection, public_id)

    async def gather(self, registry: Registry, records: Sequence[Record]) -> None:
        """See the port."""
        # One statement takes each entity once.
        last = {(each.kind, each.id): each for each in records}

        async def work(connection: Connection) -> None:
            await connection.execute(_STAGE_RECORDS, registry.id, *rows_of(list(last.values()), 3))

        await self._database.transact(work)

    async def gather_absent(self, registry: Registry, since: datetime) -> None:
        """See the port."""
        for kind in _MATCH:
            last = 0
            while rows := await self._database.fetch(_PAGE_PRESENT, registry.id, kind, last, since, _BATCH):
                own = [row["id"] for row in rows if row["is_own"]]
                await self._database.execute(_STAGE_ABSENT, registry.id, kind, own)
                last = rows[-1]["id"]

    async def fetch_settings(self, registry: Registry, since: datetime | None) -> str | None:
        """See the port."""
        row = await self._database.fetchrow(_FETCH_STAGED_SETTINGS, registry.id, since)
        return None if row is None else row["state"]

    async def clear(self, registry: Registry) -> None:
        """See the port."""
        while await self._database.fetch(_CLEAR_STAGING, registry.id, _BATCH):
            pass

    async def replay(self, registry: Registry, since: datetime | None, report: Report) -> Brought:
        """See the port."""
        await self._database.execute(_ANALYZE_STAGING)
        total = await self._database.fetchrow(_COUNT_STAGING, registry.id)
        assert total is not None
        return await _Replay(self._database, registry, since, total["count"], report).run()


async def _let_go(connection: Connection, public_id: str) -> None:
    try:
        await connection.execute(_REPLAY_NO_LONGER_ALONE, public_id)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        # It has had nothing to say for minutes. One that is lost has let go, and what was done meanwhile is done.
        discard(connection)


class _Replay:
    """One run of it."""

    def __init__(
        self, database: Database, registry: Registry, since: datetime | None, total: int, report: Report
    ) -> None:
        self._database = database
        self._registry = registry
        self._since = since or _NEVER
        self._total = total
        self._report = report
        self._done = 0
        self._new: Counter[Kind] = Counter()

    async def run(self) -> Brought:
        if self._since is not _NEVER:
            await drop_gone(self._database, self._registry, self._since)
        # Repositories name the deletions that they went with, which name repositories.
        for ids in [ids async for ids in self._pages(Kind.DELETION)]:
            await self._database.execute(_MATCH_DELETIONS, self._registry.id, ids, self._since)
        for kind in _MATCH:
            async for ids in self._pages(kind):
                await self._bring(kind, ids)
                self._done += len(ids)
                self._report("Bringing back", self._done, self._total)
        await self._settle()
        new = self._new
        return Brought(new[Kind.REPOSITORY], new[Kind.TAG], new[Kind.MANIFEST], new[Kind.BLOB])

    async def _pages(self, kind: Kind) -> AsyncIterator[list[int]]:
        """Yield ids of what was gathered, what is deleted first."""
        limit = _MANIFESTS if kind is Kind.MANIFEST else _BATCH
        for is_dead in (True, False):
            last = -1
            while rows := await self._database.fetch(_PAGE_STAGING, self._registry.id, kind, last, is_dead, limit):
                ids = [row["entity_id"] for row in rows]
                yield ids
                last = ids[-1]

    async def _bring(self, kind: Kind, ids: list[int]) -> None:
        """Write one batch, once more when somebody takes a name or pushes the same at this moment."""

        async def work(connection: Connection) -> int:
            return await self._bring_in(connection, kind, ids)

        for _ in range(_ATTEMPTS):
            try:
                self._new[kind] += await self._database.transact(work)
            except asyncpg.UniqueViolationError:
                continue
            except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
                raise ValueRefused(f"the catalogue holds a {kind} that cannot be: {error}") from error
            return
        raise DatabaseUnavailable("what is to be brought back is pushed again and again")

    async def _bring_in(self, connection: Connection, kind: Kind, ids: list[int]) -> int:
        which = self._registry.id, ids, self._since
        await connection.execute(_MATCH[kind], *which)
        if self._since is not _NEVER:
            await connection.execute(_KEEP_CHANGED_ROWS, self._registry.id, kind, ids, self._since)
        new: int = await connection.fetchval(_COUNT_NEW, self._registry.id, kind, ids)
        match kind:
            case Kind.REPOSITORY:
                await connection.execute(_BRING_REPOSITORIES, *which)
                await connection.execute(_BRING_REPOSITORY_PULLS, self._registry.id, ids)
            case Kind.DELETION:
                await connection.execute(_BRING_DELETIONS, *which)
            case Kind.BLOB:
                await connection.execute(_BRING_OBJECTS, self._registry.id, ids, objects_of(self._registry.public_id))
                await connection.execute(_END_FINISHED_UPLOADS, self._registry.id)
                await connection.execute(_BRING_BLOBS, self._registry.id, ids)
                await connection.execute(_UPDATE_BROUGHT_BLOBS, self._registry.id, ids)
            case Kind.MANIFEST:
                await connection.execute(_UPDATE_BROUGHT_MANIFESTS, *which)
                await connection.execute(_MOVE_REFERENCES_OF_BROUGHT, self._registry.id, ids)
                for row in await connection.fetch(_FETCH_NEW_MANIFESTS, *which):
                    await _bring_manifest(connection, row)
            case Kind.TAG:
                await connection.execute(_BRING_TAGS, *which)
            case _:
                await connection.execute(_BRING_REPOSITORY_BLOBS, *which)
        return new

    async def _settle(self) -> None:
        """Find out anew what has no references and when images have changed, by what they hold now."""
        last = 0
        while rows := await self._database.fetch(_PAGE_BROUGHT_REPOSITORIES, self._registry.id, last, _BATCH):
            for row in rows:
                await self._database.transact(partial(_settle_one, row["id"]))
            last = rows[-1]["id"]


async def _settle_one(repository_id: int, connection: Connection) -> None:
    await lock_blobs_of(connection, [repository_id])
    await connection.execute(_SETTLE_REFERENCES, repository_id)
    await connection.execute(_SETTLE_CHANGES, repository_id)


async def _bring_manifest(connection: Connection, row: asyncpg.Record) -> None:
    """Insert a manifest with what can be read in it; raises ValueRefused when it is not the one of its digest."""
    raw = row["raw"].encode("utf-8")
    digest = Digest.parse(row["digest"])
    if Digest.of(raw, digest.algorithm) != digest:
        raise ValueRefused(f"the catalogue holds another content under the digest {digest}")
    try:
        manifest = Manifest.parse(raw, row["media_type"])
    except ManifestInvalid as error:
        raise ValueRefused(f"the catalogue holds a manifest {digest} that is none: {error}") from error
    await connection.execute(
        _BRING_MANIFEST,
        row["row_id"],
        row["repository_id"],
        row["digest"],
        row["media_type"],
        row["kind"],
        raw,
        str(manifest.subject) if manifest.subject else None,
        manifest.artifact_type,
        orjson.dumps(manifest.annotations).decode("utf-8"),
        row["pushed_by"],
        row["created_at"],
        row["deleted_at"],
        row["deletion_id"],
        manifest.platforms,
    )
    await insert_references(connection, row["row_id"], row["repository_id"], manifest)
