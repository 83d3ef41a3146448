"""Pushing blobs: upload sessions from their start to the row that publishes a blob."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from gateway.errors import (
    BackendError,
    BlobUnknown,
    BodyCut,
    ClientError,
    DigestMismatch,
    LeaseLost,
    MultipartLost,
    ObjectDamaged,
    StorageFull,
    UploadOutOfOrder,
    UploadUnknown,
)
from gateway.ports.metadata import BlobRecord
from gateway.services.upload import Body, Upload
from gateway.services.verify import ContentSource, drain

if TYPE_CHECKING:
    from uuid import UUID

    from gateway.model.digest import Digest
    from gateway.model.names import RepositoryName
    from gateway.ports.metadata import BlobIndex, Registry, UploadIndex, UploadLease
    from gateway.ports.storage import BlobStorage
    from gateway.services.leases import Leases
    from gateway.services.removal import Remover

_log = logging.getLogger(__name__)


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
        upload = Upload(self._uploads, self._storage, registry, lease, self._largest_blob)
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

        A session that was finished with this digest before is answered as if it were finished now, while its blob is
        there.
        """
        try:
            lease = await self._acquire(registry, repository, session_id, body, account_id)
        except UploadUnknown:
            if not await self._was_finished(registry, repository, session_id, digest, account_id):
                raise
            await drain(body.source)
            return
        upload = Upload(self._uploads, self._storage, registry, lease, self._largest_blob)
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
        self, registry: Registry, repository: RepositoryName, upload: Upload, body: Body, digest: Digest
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

    async def _was_finished(
        self,
        registry: Registry,
        repository: RepositoryName,
        session_id: UUID,
        digest: Digest,
        account_id: int | None,
    ) -> bool:
        """Whether a session was finished with a digest whose blob is there still; its time begins anew then."""
        if await self._uploads.fetch_tombstone(registry, repository, session_id, account_id) != str(digest):
            return False
        with suppress(BlobUnknown):
            await self._blobs.fetch_blob(registry, repository, digest)
            await self._blobs.promise_blob(registry, repository, digest)
            return True
        return False

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
                # A body that broke its promises leaves nothing, nor does one for which there was no room; one that was
                # cut off leaves what is durable.
                keep = isinstance(error, BodyCut | BackendError) and not isinstance(error, StorageFull)
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


def _out_of_order(repository: RepositoryName, session_id: UUID, offset: int) -> UploadOutOfOrder:
    message = f"this upload session holds {offset} bytes: the next chunk starts at {offset}"
    return UploadOutOfOrder(message, repository=str(repository), session_id=str(session_id), offset=offset)


def _taken_over(repository: RepositoryName, session_id: UUID, offset: int) -> UploadOutOfOrder:
    message = f"another request has taken this upload session over, which holds {offset} bytes"
    return UploadOutOfOrder(message, repository=str(repository), session_id=str(session_id), offset=offset)
