"""Upload sessions: leases, checkpoints and the transaction that publishes a blob."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from gateway.db.blobs import insert_repository_blob, lock_repository_blob
from gateway.db.owners import Owner
from gateway.db.pool import rows_of
from gateway.db.repositories import ensure_repository
from gateway.db.statements import statement
from gateway.errors import LeaseLost, UploadUnknown
from gateway.ports.metadata import UploadLease, UploadSession
from gateway.ports.storage import Part, Segment, Stored

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

    from gateway.db.pool import Connection, Database
    from gateway.model.digest import Digest
    from gateway.model.names import RepositoryName
    from gateway.ports.metadata import BlobRecord, Registry

_START_UPLOAD = statement("start_upload")
_FETCH_UPLOAD = statement("fetch_upload")
_FETCH_TOMBSTONE = statement("fetch_tombstone")
_ACQUIRE_UPLOAD = statement("acquire_upload")
_DELETE_PARTS_BEYOND = statement("delete_parts_beyond")
_FETCH_TARGET = statement("fetch_target")
_FETCH_PARTS = statement("fetch_parts")
_FETCH_SEGMENTS = statement("fetch_segments")
_RETIRE_SEGMENTS_BEFORE = statement("retire_segments_before")
_RENEW_LEASES = statement("renew_leases")
_RELEASE_UPLOAD = statement("release_upload")
_FETCH_OWNERS = statement("fetch_owners")
_RELEASE_LEASES = statement("release_leases")
_ASK_FOR_UPLOAD = statement("ask_for_upload")
_INSERT_TARGET = statement("insert_target")
_INSERT_SEGMENT_OBJECT = statement("insert_segment_object")
_RECORD_MULTIPART = statement("record_multipart")
_RESERVE_PART_NUMBERS = statement("reserve_part_numbers")
_RECORD_COMPLETING = statement("record_completing")
_CONFIRM_LEASE = statement("confirm_lease")
_RECORD_PROGRESS = statement("record_progress")
_COMMIT_CHECKPOINT = statement("commit_checkpoint")
_INSERT_SEGMENTS = statement("insert_segments")
_LOCK_UPLOAD = statement("lock_upload")
_LOCK_UPLOAD_TO_CANCEL = statement("lock_upload_to_cancel")
_PUBLISH_OBJECT = statement("publish_object")
_INSERT_BLOB = statement("insert_blob")
_MEND_BLOB = statement("mend_blob")
_LOCK_BLOB = statement("lock_blob")
_RETIRE_OBJECT = statement("retire_object")
_END_UPLOADS = statement("end_uploads")
_INSERT_TOMBSTONE = statement("insert_tombstone")

CHANNEL = "slipway_uploads"
"""Notifications on this channel carry a session's id and the epoch of the lease whose holder is asked to stop."""


class Uploads:
    """Implements ports.metadata.UploadIndex for one process, which ``owner`` names."""

    def __init__(self, database: Database, owner: Owner) -> None:
        self._database = database
        self._owner = owner

    async def release_leases_of_predecessor(self) -> None:
        """Give back the leases of dead processes that were in this place before; called once, at start."""
        rows = await self._database.fetch(_FETCH_OWNERS, f"{self._owner.place}/")
        dead = [row["owner"] for row in rows if not Owner.parse(row["owner"]).is_alive]
        await self._database.execute(_RELEASE_LEASES, dead)

    async def start_upload(
        self, registry: Registry, repository: RepositoryName, algorithm: str, account_id: int | None
    ) -> UUID:
        """See the port."""
        session_id = uuid4()
        await self._database.execute(_START_UPLOAD, session_id, registry.id, str(repository), algorithm, account_id)
        return session_id

    async def fetch_upload(
        self, registry: Registry, repository: RepositoryName, session_id: UUID, account_id: int | None
    ) -> UploadSession:
        """See the port."""
        row = await self._database.fetchrow(_FETCH_UPLOAD, session_id, registry.id, str(repository), account_id)
        if row is None:
            raise _unknown(session_id)
        committed = row["committed_offset"]
        return UploadSession(committed, max(committed, row["progress_solid"]), row["leased"])

    async def fetch_tombstone(
        self, registry: Registry, repository: RepositoryName, session_id: UUID, account_id: int | None
    ) -> str | None:
        """See the port."""
        row = await self._database.fetchrow(_FETCH_TOMBSTONE, session_id, registry.id, str(repository), account_id)
        return None if row is None else row["digest"]

    async def acquire_upload(self, session_id: UUID, *, adopt_progress: bool) -> UploadLease | None:
        """See the port."""

        async def work(connection: Connection) -> UploadLease | None:
            row = await connection.fetchrow(_ACQUIRE_UPLOAD, session_id, str(self._owner), adopt_progress)
            if row is None:
                return None
            if row["target_id"] is not None:
                await connection.execute(_DELETE_PARTS_BEYOND, session_id, row["committed_solid"])
            if adopt_progress:
                await connection.execute(_RETIRE_SEGMENTS_BEFORE, session_id, row["committed_solid"])
            return UploadLease(
                session_id, row["epoch"], row["algorithm"], await _stored(connection, row), row["committed_hash_state"]
            )

        return await self._database.transact(work)

    async def renew_leases(self, leases: Sequence[tuple[UUID, int]]) -> set[UUID]:
        """See the port."""
        rows = await self._database.fetch(_RENEW_LEASES, *rows_of(leases, 2))
        return {row["id"] for row in rows}

    async def release_upload(self, session_id: UUID, epoch: int, *, keep_progress: bool) -> None:
        """See the port."""
        await self._database.execute(_RELEASE_UPLOAD, session_id, epoch, keep_progress)

    async def ask_for_upload(self, session_id: UUID) -> None:
        """See the port."""
        await self._database.execute(_ASK_FOR_UPLOAD, session_id)

    async def new_target(self, session_id: UUID, epoch: int, key: str) -> None:
        """See the port."""
        await self._change(_INSERT_TARGET, session_id, epoch, key)

    async def new_segment(self, session_id: UUID, epoch: int, key: str) -> None:
        """See the port."""
        await self._change(_INSERT_SEGMENT_OBJECT, session_id, epoch, key)

    async def record_multipart(self, session_id: UUID, epoch: int, multipart_id: str, part_size: int) -> None:
        """See the port."""
        await self._change(_RECORD_MULTIPART, session_id, epoch, multipart_id, part_size)

    async def reserve_part_numbers(self, session_id: UUID, epoch: int, through: int) -> None:
        """See the port."""
        await self._change(_RESERVE_PART_NUMBERS, session_id, epoch, through)

    async def record_completing(self, session_id: UUID, epoch: int) -> None:
        """See the port."""
        await self._change(_RECORD_COMPLETING, session_id, epoch)

    async def confirm_lease(self, session_id: UUID, epoch: int) -> None:
        """See the port."""
        await self._change(_CONFIRM_LEASE, session_id, epoch)

    async def record_progress(
        self, session_id: UUID, epoch: int, solid: int, parts: Sequence[Part], hash_state: bytes | None
    ) -> None:
        """See the port."""
        columns = rows_of([(part.number, part.start, part.size, part.etag) for part in parts], 4)
        await self._change(_RECORD_PROGRESS, session_id, epoch, solid, hash_state, *columns)

    async def commit_checkpoint(self, session_id: UUID, epoch: int, stored: Stored, hash_state: bytes | None) -> None:
        """See the port."""
        tail_part = stored.tail_part

        async def work(connection: Connection | Database) -> None:
            row = await connection.fetchrow(
                _COMMIT_CHECKPOINT,
                session_id,
                epoch,
                stored.offset,
                stored.solid,
                hash_state,
                tail_part.number if tail_part else None,
                tail_part.etag if tail_part else None,
                stored.part_numbers_reserved,
            )
            if row is None:
                raise _lost(session_id)
            if stored.tail:
                columns = rows_of([(segment.key, segment.start, segment.size) for segment in stored.tail], 3)
                await connection.execute(_INSERT_SEGMENTS, session_id, *columns)

        await (self._database.transact(work) if stored.tail else work(self._database))

    async def publish_upload(
        self, registry: Registry, repository: RepositoryName, session_id: UUID, epoch: int, blob: BlobRecord
    ) -> None:
        """See the port."""

        async def work(connection: Connection) -> None:
            await _lock(connection, session_id, epoch)
            repository_id = await ensure_repository(connection, registry, repository)
            await lock_repository_blob(connection, registry, repository, blob.digest)
            blob_id = await _publish_blob(connection, registry, blob)
            await insert_repository_blob(connection, repository_id, blob_id, blob.digest)
            await _finish(connection, registry, repository, session_id, blob.digest)

        await self._database.transact(work)

    async def finish_upload(
        self, registry: Registry, repository: RepositoryName, session_id: UUID, epoch: int, digest: Digest
    ) -> None:
        """See the port."""

        async def work(connection: Connection) -> None:
            await _lock(connection, session_id, epoch)
            await _finish(connection, registry, repository, session_id, digest)

        await self._database.transact(work)

    async def discard_upload(self, session_id: UUID, epoch: int) -> None:
        """See the port."""

        async def work(connection: Connection) -> None:
            await _lock(connection, session_id, epoch)
            await end_uploads(connection, [session_id])

        await self._database.transact(work)

    async def cancel_upload(
        self, registry: Registry, repository: RepositoryName, session_id: UUID, account_id: int | None
    ) -> None:
        """See the port."""
        session = session_id, registry.id, str(repository), account_id

        async def work(connection: Connection) -> None:
            if not await connection.fetchrow(_LOCK_UPLOAD_TO_CANCEL, *session):
                raise _unknown(session_id)
            await connection.execute(_ASK_FOR_UPLOAD, session_id)
            await end_uploads(connection, [session_id])

        await self._database.transact(work)

    async def _change(self, query: str, session_id: UUID, epoch: int, *arguments: object) -> None:
        """Run a statement that finds its session only while the lease holds."""
        if await self._database.fetchrow(query, session_id, epoch, *arguments) is None:
            raise _lost(session_id)


async def _stored(connection: Connection, row: asyncpg.Record) -> Stored:
    """Read what the storage holds of a session up to its committed checkpoint."""
    if row["target_id"] is None and row["committed_offset"] == 0:
        return Stored()
    session_id = row["id"]
    target = await connection.fetchrow(_FETCH_TARGET, row["target_id"])
    solid, offset = row["committed_solid"], row["committed_offset"]
    parts = await connection.fetch(_FETCH_PARTS, session_id) if target and target["multipart_id"] else ()
    segments = await connection.fetch(_FETCH_SEGMENTS, session_id) if offset > solid else ()
    tail_part = None
    if row["tail_part_number"] is not None:
        tail_part = Part(row["tail_part_number"], solid, offset - solid, row["tail_part_etag"])
    return Stored(
        key=target["key"] if target else None,
        multipart_id=target["multipart_id"] if target else None,
        part_size=row["part_size"],
        part_numbers_reserved=row["part_numbers_reserved"],
        completing=row["completing"],
        parts=tuple(Part(part["number"], part["start"], part["size"], part["etag"]) for part in parts),
        solid=solid,
        tail=tuple(Segment(segment["key"], segment["start"], segment["size"]) for segment in segments),
        tail_part=tail_part,
    )


async def _publish_blob(connection: Connection, registry: Registry, blob: BlobRecord) -> int:
    """Point the digest at the object, or keep the object that it points at already; return the blob's id."""
    await connection.execute(_PUBLISH_OBJECT, blob.key, blob.size)
    while True:
        row = await connection.fetchrow(_INSERT_BLOB, registry.id, str(blob.digest), blob.size, blob.key)
        if row is not None:
            return int(row["id"])
        row = await connection.fetchrow(_MEND_BLOB, registry.id, str(blob.digest), blob.size, blob.key)
        if row is not None:
            return int(row["id"])
        row = await connection.fetchrow(_LOCK_BLOB, registry.id, str(blob.digest))
        if row is not None:
            await connection.execute(_RETIRE_OBJECT, blob.key)
            return int(row["id"])


async def _lock(connection: Connection, session_id: UUID, epoch: int) -> None:
    if await connection.fetchrow(_LOCK_UPLOAD, session_id, epoch) is None:
        raise _lost(session_id)


async def _finish(
    connection: Connection, registry: Registry, repository: RepositoryName, session_id: UUID, digest: Digest
) -> None:
    """End a session and remember for a while what it came to."""
    await connection.execute(_INSERT_TOMBSTONE, session_id, registry.id, str(repository), str(digest))
    await end_uploads(connection, [session_id])


async def end_uploads(connection: Connection, session_ids: Sequence[UUID]) -> None:
    """Forget sessions, which must be locked; everything that they stored and did not publish is to be removed."""
    await connection.execute(_END_UPLOADS, session_ids)


def _unknown(session_id: UUID) -> UploadUnknown:
    return UploadUnknown(f"there is no upload session {session_id}: it was finished, cancelled, or has expired")


def _lost(session_id: UUID) -> LeaseLost:
    return LeaseLost(f"another request has taken over upload session {session_id}")
