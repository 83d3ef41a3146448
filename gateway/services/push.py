"""Pushing blobs: upload sessions from their start to the row that publishes a blob."""

from __future__ import annotations

import asyncio
import logging
import secrets
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.errors import (
    BackendError,
    BodyCut,
    ClientError,
    DigestMismatch,
    LeaseLost,
    MultipartLost,
    ObjectDamaged,
    UploadOutOfOrder,
    UploadTooLarge,
    UploadUnknown,
)
from gateway.model.ranges import ByteRange
from gateway.ports.metadata import BlobRecord
from gateway.ports.storage import Completed, Location
from gateway.services.hashing import new_hasher, resumed_hasher
from gateway.services.verify import ContentSource, VerifyingSource, check_digest, drain, read_digest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from uuid import UUID

    from gateway.model.digest import Digest
    from gateway.model.names import RepositoryName
    from gateway.ports.metadata import BlobIndex, Registry, UploadIndex, UploadLease
    from gateway.ports.storage import Appender, BlobStorage, BodySource, Part, Stored
    from gateway.services.leases import Leases
    from gateway.services.removal import Remover

_log = logging.getLogger(__name__)

_MUCH_AT_ONCE = 128 * 1024
"""Bytes that come in one piece only from clients which send faster than they are received."""


@dataclass(frozen=True, slots=True)
class Body:
    """What one request brings to an upload session."""

    source: BodySource
    length: int | None
    """Number of bytes announced; None when unknown."""
    chunk: ByteRange | None = None
    """Which bytes of the blob the client says they are; None when it does not say."""
    is_gone: Callable[[], bool] = lambda: False
    """Tells whether the client has left."""


class Push:
    """Upload sessions and mounts.

    ``account_id`` says whose a session is, None under ``--open``; for all others there is no such session.
    """

    def __init__(
        self,
        uploads: UploadIndex,
        blobs: BlobIndex,
        storage: BlobStorage,
        leases: Leases,
        remover: Remover,
        *,
        largest_blob: int | None = None,
    ) -> None:
        self._uploads = uploads
        self._blobs = blobs
        self._storage = storage
        self._leases = leases
        self._remover = remover
        self._largest_blob = largest_blob

    async def mount(
        self, registry: Registry, repository: RepositoryName, digest: Digest, source: RepositoryName | None
    ) -> bool:
        """Mount a blob from another repository, or from any if none is named (end-11); False if it is not there."""
        return await self._blobs.mount_blob(registry, repository, digest, source)

    async def start(
        self,
        registry: Registry,
        repository: RepositoryName,
        algorithm: str = "sha256",
        *,
        account_id: int | None = None,
    ) -> UUID:
        """Start an upload session (end-4a)."""
        return await self._uploads.start_upload(registry, repository, algorithm, account_id)

    async def upload(self, registry: Registry, repository: RepositoryName, body: Body, digest: Digest) -> None:
        """Take a whole blob in one request (end-4b); the session that it goes through is never seen by anybody."""
        session_id = await self.start(registry, repository, digest.algorithm)
        try:
            await self.close(registry, repository, session_id, body, digest)
        except (ClientError, BackendError):
            with suppress(UploadUnknown, BackendError):
                await self.cancel(registry, repository, session_id)
            raise

    async def status(
        self,
        registry: Registry,
        repository: RepositoryName,
        session_id: UUID,
        *,
        adopt: bool,
        account_id: int | None = None,
    ) -> int:
        """Return how many bytes a session holds (end-13).

        With ``adopt`` the durable beginning of a body that was cut off counts as well, and is binding from then on.
        """
        session = await self._uploads.fetch_upload(registry, repository, session_id, account_id)
        if adopt and not session.leased and session.progress > session.committed:
            lease = await self._uploads.acquire_upload(session_id, adopt_progress=True)
            if lease is not None:
                await self._uploads.release_upload(session_id, lease.epoch, keep_progress=False)
                return lease.stored.offset
        return session.committed

    async def append(
        self,
        registry: Registry,
        repository: RepositoryName,
        session_id: UUID,
        body: Body,
        *,
        account_id: int | None = None,
    ) -> int:
        """Append a body to a session (end-5); return the number of bytes that it holds then.

        Raises UploadOutOfOrder when the chunk does not start where the session stands, or when another
        request takes the session over; the session lives on.
        """
        lease = await self._acquire(registry, repository, session_id, body, account_id)
        upload = _Upload(self._uploads, self._storage, registry, lease, self._largest_blob)
        try:
            stored, hash_state = await self._leases.run(lease, upload.append(body))
            await self._uploads.commit_checkpoint(session_id, lease.epoch, stored, hash_state)
        except (ClientError, BackendError, LeaseLost) as error:
            await self._settle(registry, repository, lease, error, account_id)
            raise
        return stored.offset

    async def close(
        self,
        registry: Registry,
        repository: RepositoryName,
        session_id: UUID,
        body: Body,
        digest: Digest,
        *,
        account_id: int | None = None,
    ) -> None:
        """Append what is left, verify the digest and publish the blob (end-6).

        A session that was finished with this digest before is answered as if it were finished now.
        """
        try:
            lease = await self._acquire(registry, repository, session_id, body, account_id)
        except UploadUnknown:
            if await self._uploads.fetch_tombstone(registry, repository, session_id, account_id) != str(digest):
                raise
            await drain(body.source)
            return
        upload = _Upload(self._uploads, self._storage, registry, lease, self._largest_blob)
        try:
            result = await self._leases.run(lease, self._close(registry, repository, upload, body, digest))
            if isinstance(result, BlobRecord):
                await self._uploads.publish_upload(registry, repository, session_id, lease.epoch, result)
            else:
                await self._uploads.finish_upload(registry, repository, session_id, lease.epoch, digest)
        except (ClientError, BackendError, LeaseLost) as error:
            await self._settle(registry, repository, lease, error, account_id)
            raise
        self._remover.wake()

    async def cancel(
        self, registry: Registry, repository: RepositoryName, session_id: UUID, *, account_id: int | None = None
    ) -> None:
        """Cancel a session (end-14)."""
        await self._uploads.cancel_upload(registry, repository, session_id, account_id)
        self._remover.wake()

    async def _close(
        self, registry: Registry, repository: RepositoryName, upload: _Upload, body: Body, digest: Digest
    ) -> BlobRecord | None:
        """Receive the rest of a blob; None when it was the whole blob once more, and is published already.

        Such a body goes through a session of its own: until it is published, nothing of the first one is touched.
        """
        result = await upload.close(body, digest)
        if isinstance(result, BlobRecord):
            return result
        async with self._storage.open(result.location, result.span) as content:
            again = Body(ContentSource(content), result.span.length)
            await self.upload(registry, repository, again, digest)
        return None

    async def _acquire(
        self,
        registry: Registry,
        repository: RepositoryName,
        session_id: UUID,
        body: Body,
        account_id: int | None,
    ) -> UploadLease:
        chunk = body.chunk

        async def still_fits() -> bool:
            session = await self._uploads.fetch_upload(registry, repository, session_id, account_id)
            if chunk is None or chunk.start == session.committed:
                return False
            if chunk.start == session.progress:
                return True
            raise _out_of_order(repository, session_id, session.committed)

        lease = await self._leases.acquire(session_id, still_fits, body.is_gone)
        if chunk is not None and chunk.start != lease.stored.offset:
            await self._uploads.release_upload(session_id, lease.epoch, keep_progress=True)
            raise _out_of_order(repository, session_id, lease.stored.offset)
        return lease

    async def _settle(
        self,
        registry: Registry,
        repository: RepositoryName,
        lease: UploadLease,
        error: Exception,
        account_id: int | None,
    ) -> None:
        """Leave a session as the kind of failure asks for; raise what is to be answered instead, if anything."""
        session_id = lease.session_id
        try:
            if isinstance(error, LeaseLost):
                raise error
            if isinstance(error, DigestMismatch | MultipartLost | ObjectDamaged):
                await self._uploads.discard_upload(session_id, lease.epoch)
                self._remover.wake()
            else:
                # A body that broke its promises leaves nothing; one that was cut off leaves what is durable.
                keep = isinstance(error, BodyCut | BackendError)
                await self._uploads.release_upload(session_id, lease.epoch, keep_progress=keep)
        except LeaseLost:
            await self._uploads.release_upload(session_id, lease.epoch, keep_progress=True)
            session = await self._uploads.fetch_upload(registry, repository, session_id, account_id)
            raise _taken_over(repository, session_id, session.committed) from error
        except BackendError as another:
            # The lease runs out by itself; the first error is the one to tell.
            _log.warning("upload session %s could not be given back: %s", session_id, another)
        if isinstance(error, MultipartLost):
            raise UploadUnknown("the storage has lost this upload: start it again") from error


@dataclass(frozen=True, slots=True)
class _WholeBlob:
    """An object of which the end is the whole blob."""

    location: Location
    span: ByteRange


class _Upload:
    """One request's work on one session, under a lease; implements ports.storage.UploadRecorder."""

    def __init__(
        self,
        uploads: UploadIndex,
        storage: BlobStorage,
        registry: Registry,
        lease: UploadLease,
        largest: int | None,
    ) -> None:
        self._uploads = uploads
        self._storage = storage
        self._registry = registry
        self._lease = lease
        self._largest = largest
        self._verifying: VerifyingSource | None = None
        # Whether nobody knows yet if the body goes behind what is stored, or is the whole blob by itself.
        self._is_ambiguous = False

    async def append(self, body: Body) -> tuple[Stored, bytes | None]:
        """Receive a body; return what is stored then, and the state of the hash over it."""
        stored = self._lease.stored
        if await self._completed_before() is not None:
            raise MultipartLost("an earlier request has completed this upload, and its blob was not published")
        hasher = resumed_hasher(self._lease.algorithm, stored.offset, self._lease.hash_state)
        source = VerifyingSource(body.source, hasher, None)
        async with self._appending(stored, source, body.length) as appender:
            return await appender.checkpoint(last=body.chunk is None), source.hash_state()

    async def close(self, body: Body, digest: Digest) -> BlobRecord | _WholeBlob:
        """Receive the rest of a blob, make one object of it, and see that it has the digest."""
        before = await self._completed_before()
        if before is not None:
            return await self._published_late(before, body, digest)
        stored = self._lease.stored
        state = self._lease.hash_state if digest.algorithm == self._lease.algorithm else None
        hasher = resumed_hasher(digest.algorithm, stored.offset, state)
        # Clients that lost an answer may send the whole blob once more, behind what the session holds already.
        alone = new_hasher(digest.algorithm) if stored.offset and body.chunk is None else None
        self._is_ambiguous = alone is not None
        source = VerifyingSource(body.source, hasher, digest, alone)
        async with self._appending(stored, source, body.length) as appender:
            completed = await appender.complete()
        received = stored.offset + source.received
        if completed.size != received:
            raise ObjectDamaged(f"object {completed.key} has {completed.size} bytes where {received} were written")
        if source.alone and completed.certain:
            return _WholeBlob(self._at(completed.key), ByteRange(stored.offset, completed.size))
        if not source.verified or not completed.certain:
            await self._read_again(completed, digest)
        return BlobRecord(digest, completed.size, completed.key)

    async def _completed_before(self) -> Completed | None:
        """Find the object that an earlier request made of this session and did not get to publish."""
        key = self._lease.stored.key
        if not self._lease.stored.completing or key is None:
            return None
        size = await self._storage.stat(self._at(key))
        return None if size is None else Completed(key, size, certain=False)

    async def _published_late(self, completed: Completed, body: Body, digest: Digest) -> BlobRecord:
        """Take an object of which only its content can tell whether it is the blob that is asked for now.

        Raises MultipartLost when it is another one: what the session held went into that object.
        """
        try:
            await self._read_again(completed, digest)
        except DigestMismatch as error:
            raise MultipartLost("an earlier request has completed this upload with other bytes") from error
        await drain(body.source)
        return BlobRecord(digest, completed.size, completed.key)

    async def _read_again(self, completed: Completed, digest: Digest) -> None:
        location = self._at(completed.key)
        check_digest(await read_digest(self._storage, location, completed.size, digest.algorithm), digest)

    def _at(self, key: str) -> Location:
        return Location(self._registry.bucket, key)

    @asynccontextmanager
    async def _appending(self, stored: Stored, source: VerifyingSource, length: int | None) -> AsyncIterator[Appender]:
        """Receive a whole body into the storage; the appender is ready to finish then."""
        self._verifying = source
        self._check_size(stored.offset + (length or 0))
        async with self._storage.appender(self._registry.bucket, stored, self, length=length) as appender:
            try:
                while count := await source.receive_into(await appender.buffer()):
                    self._check_size(stored.offset + source.received)
                    await appender.filled(count)
                    if count >= _MUCH_AT_ONCE:
                        await appender.take(source.receive_now)
            except (BodyCut, asyncio.CancelledError):
                await appender.salvage()
                raise
            yield appender

    def _check_size(self, size: int) -> None:
        if self._largest is not None and size > self._largest:
            raise UploadTooLarge(f"a blob may have {self._largest} bytes here, and this one has more")

    def hash_state(self) -> bytes | None:
        """See the port."""
        assert self._verifying is not None
        return self._verifying.hash_state()

    async def new_target(self) -> str:
        """See the port."""
        key = self._fresh_key()
        await self._uploads.new_target(self._lease.session_id, self._lease.epoch, key)
        return key

    async def new_segment(self) -> str:
        """See the port."""
        key = self._fresh_key()
        await self._uploads.new_segment(self._lease.session_id, self._lease.epoch, key)
        return key

    async def multipart_started(self, multipart_id: str, part_size: int) -> None:
        """See the port."""
        await self._uploads.record_multipart(self._lease.session_id, self._lease.epoch, multipart_id, part_size)

    async def reserve_part_numbers(self, through: int) -> None:
        """See the port."""
        await self._uploads.reserve_part_numbers(self._lease.session_id, self._lease.epoch, through)

    async def completing(self) -> None:
        """See the port."""
        await self._uploads.record_completing(self._lease.session_id, self._lease.epoch)

    async def confirm(self) -> None:
        """See the port."""
        await self._uploads.confirm_lease(self._lease.session_id, self._lease.epoch)

    async def progressed(self, solid: int, parts: Sequence[Part], hash_state: bytes | None) -> None:
        """See the port; the beginning of a body that may turn out to be something else is no progress."""
        if self._is_ambiguous:
            await self.confirm()
            return
        await self._uploads.record_progress(self._lease.session_id, self._lease.epoch, solid, parts, hash_state)

    def _fresh_key(self) -> str:
        return f"slipway/{self._registry.public_id}/objects/{secrets.token_hex(16)}"


def _out_of_order(repository: RepositoryName, session_id: UUID, offset: int) -> UploadOutOfOrder:
    message = f"this upload session holds {offset} bytes: the next chunk starts at {offset}"
    return UploadOutOfOrder(message, repository=str(repository), session_id=str(session_id), offset=offset)


def _taken_over(repository: RepositoryName, session_id: UUID, offset: int) -> UploadOutOfOrder:
    message = f"another request has taken this upload session over, which holds {offset} bytes"
    return UploadOutOfOrder(message, repository=str(repository), session_id=str(session_id), offset=offset)
