"""One request's work on one upload session: its body becomes parts, and in the end one object with the digest."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.errors import BodyCut, DigestMismatch, MemoryShort, MultipartLost, ObjectDamaged, ServiceEnding
from gateway.model.keys import objects_of
from gateway.model.ranges import ByteRange
from gateway.ports.metadata import BlobRecord
from gateway.ports.storage import Completed, Location
from gateway.services.hashing import new_hasher, resumed_hasher
from gateway.services.limit import LimitedSource
from gateway.services.patience import Patience
from gateway.services.verify import VerifyingSource, check_digest, drain, read_digest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from gateway.model.digest import Digest
    from gateway.ports.metadata import Registry, UploadIndex, UploadLease
    from gateway.ports.storage import Appender, BlobStorage, BodySource, Part, Stored

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


@dataclass(frozen=True, slots=True)
class WholeBlob:
    """An object of which the end is the whole blob."""

    location: Location
    span: ByteRange


class Upload:
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
        source = VerifyingSource(self._limited(body), hasher, None)
        async with self._appending(stored, source, body.length) as appender:
            return await appender.checkpoint(last=body.chunk is None), source.hash_state()

    async def close(self, body: Body, digest: Digest) -> BlobRecord | WholeBlob:
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
        source = VerifyingSource(self._limited(body), hasher, digest, alone)
        async with self._appending(stored, source, body.length) as appender:
            completed = await appender.complete()
        received = stored.offset + source.received
        if completed.size != received:
            raise ObjectDamaged(f"object {completed.key} has {completed.size} bytes where {received} were written")
        if source.alone and completed.certain:
            return WholeBlob(self._at(completed.key), ByteRange(stored.offset, completed.size))
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
        async with self._storage.appender(self._registry.bucket, stored, self, length=length) as appender:
            patience = Patience(appender.is_wanted)
            try:
                while count := await patience.wait(source.receive_into(await appender.buffer())):
                    await appender.filled(count)
                    if count >= _MUCH_AT_ONCE:
                        await appender.take(source.receive_now)
            except (BodyCut, MemoryShort, ServiceEnding, asyncio.CancelledError):
                await appender.salvage()
                raise
            yield appender

    def _limited(self, body: Body) -> BodySource:
        """Hold a body to the size that blobs may have; one that announces too much is not even begun."""
        if self._largest is None:
            return body.source
        limited = LimitedSource(body.source, self._lease.stored.offset, self._largest)
        limited.expect(body.length or 0)
        return limited

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
        return f"{objects_of(self._registry.public_id)}{secrets.token_hex(16)}"
