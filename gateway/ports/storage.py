"""The storage port: how bytes go into a bucket and come out again.

A *bucket* holds *objects* under *keys*. Every object is written once: each key is fresh and random,
it was committed to a row before the storage is first called with it, and only retries of one call,
with the same bytes, repeat it. No object is ever copied, moved or changed. What is published to
clients is decided by rows in the database, never by what lies in a bucket.

All methods raise StorageUnavailable when the storage cannot be reached, refuses for a passing
reason after retries, or exceeds its time limit, and StorageFull when it has no room.
One contract suite, ``tests/contract``, defines the behaviour for every implementation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from gateway.model.endpoints import Endpoint
    from gateway.model.ranges import ByteRange


@dataclass(frozen=True, slots=True)
class Location:
    """Where an object lies."""

    bucket: str
    key: str


# --- reading -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FileRange:
    """Bytes of an open regular file: ``length`` bytes from ``start``. Made for sendfile."""

    descriptor: int
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class ByteStream:
    """Bytes that arrive piece by piece: exactly ``length`` of them, or the iteration raises BackendError."""

    chunks: AsyncIterator[bytes]
    length: int


class SocketSource(Protocol):
    """A socket from which bytes of an object come, for whoever can move them without looking at them.

    ``take_first`` returns, once, what was read already; then exactly ``left`` bytes are to be taken out of the socket
    ``descriptor``, which never blocks, and each taking is told to ``took``. It raises BackendError when told of 0
    bytes, the end that comes too early; ``readable`` waits a moment and raises when the storage is silent for long.
    """

    @property
    def descriptor(self) -> int: ...  # noqa: D102
    @property
    def left(self) -> int: ...  # noqa: D102
    def take_first(self) -> bytes: ...  # noqa: D102
    def took(self, count: int) -> None: ...  # noqa: D102
    async def readable(self) -> None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class SocketRange(ByteStream):
    """A stream whose bytes are still in a socket. Made for splice: use ``source`` or ``chunks``, never both."""

    source: SocketSource


BlobContent = FileRange | ByteStream | SocketRange


class BodySource(Protocol):
    """Bytes on their way in, taken by the reader into memory of its own."""

    async def receive_into(self, buffer: memoryview) -> int:
        """Fill the beginning of a buffer (at least one byte long) and return how many bytes it got.

        Returns 0 only at the true end of a body that kept all its promises. Whatever is wrong with
        it (cut off, too long, stalled, not of the announced size or digest) is raised as a
        ClientError, so that nobody can take a broken body for a complete one.
        """
        ...

    def receive_now(self, buffer: memoryview) -> int:
        """Fill the beginning of a buffer with what has arrived already; return 0 when that is nothing.

        May be called in a thread, while nobody uses the source elsewhere. The end of a body, and most of what may be
        wrong with it, is left to the next ``receive_into``.
        """
        ...


# --- listing -------------------------------------------------------------------------------------

LISTED_AT_ONCE = 1000
"""Most objects or uploads of a page."""


@dataclass(frozen=True, slots=True)
class ListedObject:
    """An object as a listing shows it."""

    key: str
    size: int
    """In bytes."""
    modified: datetime
    """When it was stored, by the storage's clock."""


@dataclass(frozen=True, slots=True)
class ListedUpload:
    """A multipart upload that has neither been completed nor aborted."""

    key: str
    multipart_id: str
    begun: datetime
    """By the storage's clock."""


# --- writing -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Part:
    """A stored part of a multipart upload: bytes ``start`` to ``start + size`` of the blob."""

    number: int
    start: int
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class Segment:
    """A small object that holds bytes ``start`` to ``start + size`` of a blob which do not fill a part."""

    key: str
    start: int
    size: int


@dataclass(frozen=True, slots=True)
class Stored:
    """What the storage durably holds of an unfinished upload.

    First come ``solid`` bytes, in the parts of one multipart upload or in one file; behind them comes
    the *tail*, a list of segments. Everything else about the upload is thrown away without harm.
    """

    key: str | None = None
    """Key of the object that the multipart upload or the file will become; None while there is neither."""
    multipart_id: str | None = None
    part_size: int = 0
    """Size of every part but the last, fixed when the multipart upload is created; 0 before that."""
    part_numbers_reserved: int = 0
    """Highest part number that may have been used; whoever goes on uses higher ones only.

    A checkpoint states the highest that was used, which may be lower than what was reserved on the way.
    """
    parts: tuple[Part, ...] = ()
    solid: int = 0
    tail: tuple[Segment, ...] = ()
    completing: bool = False
    """True once somebody has begun to complete the multipart upload: there may be an object already."""
    tail_part: Part | None = None
    """The bytes of the tail once more, as a last part, so that the upload can be completed at once."""

    @property
    def offset(self) -> int:
        """Number of bytes held."""
        return self.solid + sum(segment.size for segment in self.tail)


@dataclass(frozen=True, slots=True)
class Completed:
    """An object that holds a whole upload."""

    key: str
    size: int
    """In bytes, as the storage states it."""
    certain: bool = True
    """False when an earlier call may have made it, of other bytes: its content has to be read before it is believed."""


class UploadRecorder(Protocol):
    """The memory of an upload, kept in the database: what must be written down before and after each step.

    Every method but ``hash_state`` commits before it returns, and raises LeaseLost when another process has taken the
    upload over; the appender then stops at once.
    """

    async def new_target(self) -> str:
        """Commit and return a fresh key for the object that the upload will become."""
        ...

    async def new_segment(self) -> str:
        """Commit and return a fresh key for a segment of the tail."""
        ...

    async def multipart_started(self, multipart_id: str, part_size: int) -> None:
        """Commit that a multipart upload was created under the target's key."""
        ...

    async def reserve_part_numbers(self, through: int) -> None:
        """Commit that part numbers up to ``through`` may be used from now on."""
        ...

    async def completing(self) -> None:
        """Commit that the multipart upload is about to be completed."""
        ...

    async def confirm(self) -> None:
        """Return if nobody else has taken the upload over; it writes nothing."""
        ...

    async def progressed(self, solid: int, parts: Sequence[Part], hash_state: bytes | None) -> None:
        """Commit that the first ``solid`` bytes are durable, ``parts`` being those stored since the last call.

        ``hash_state`` is what ``hash_state()`` returned when exactly ``solid`` bytes had been handed over.
        """
        ...

    def hash_state(self) -> bytes | None:
        """Return the state of the hash over all bytes received so far; None where it cannot be exported."""
        ...


class Appender(Protocol):
    """Takes the bytes of one request for an upload and makes them durable.

    Used by one task: ``buffer``, fill it, ``filled``, again and again; then one of ``checkpoint``,
    ``complete`` and ``salvage``. After a call that failed or was cancelled only ``salvage`` may follow.
    Leaving the context waits for or cancels what is still in flight and gives back all memory and
    locks; it deletes nothing.
    """

    def is_wanted(self) -> bool:
        """Whether others have waited for long for memory that this upload holds."""
        ...

    async def buffer(self) -> memoryview:
        """Return free space of at least one byte behind what was filled last; waits while memory is short.

        The space never reaches across a part boundary, so that ``hash_state()`` can be taken there.
        """
        ...

    async def filled(self, count: int) -> None:
        """Take over the first ``count`` bytes of the space that ``buffer`` returned last (hashed already)."""
        ...

    async def take(self, receive_now: Callable[[memoryview], int]) -> None:
        """Take bytes (hashed already) in a thread, as long as ``receive_now`` has some.

        Called after ``filled``, for clients that send faster than we take: it saves the turns through the event loop.
        """
        ...

    async def checkpoint(self, *, last: bool) -> Stored:
        """Make all bytes durable and say how they are held; the caller commits that.

        ``last`` is true when the client has probably sent everything: the tail is then sent as a part as well.
        """
        ...

    async def complete(self) -> Completed:
        """Turn all bytes into one object.

        May be repeated, in another process too: an object that was completed before is found by its size, which
        proves little, and is therefore not certain.
        Raises ObjectDamaged when the storage holds another size than was written, MultipartLost when it
        knows neither the multipart upload nor the object.
        """
        ...

    async def salvage(self) -> None:
        """Keep what can be kept of a body that was cut off: record the last durable prefix as progress.

        Failures of the storage are passed over, since there is a worse one to tell already.
        """
        ...


class BlobStorage(Protocol):
    """One storage service, or one data directory, with its buckets."""

    async def check_bucket(self, bucket: str, *, make: bool = True) -> None:
        """Make sure that a bucket can be used; raise ConfigurationError with the reason when not.

        A missing one is made where that is ours to do, but without ``make``: one that a registry has already may lie
        on a disk that is not mounted.
        """
        ...

    def appender(
        self,
        bucket: str,
        stored: Stored,
        recorder: UploadRecorder,
        *,
        length: int | None,
    ) -> AbstractAsyncContextManager[Appender]:
        """Go on with an upload from exactly ``stored.offset``; what lies behind it is overwritten or ignored.

        ``length`` is the number of bytes that this request announces, None when unknown; it only helps to
        choose the size of parts. Raises UploadTooLarge when parts run out, UploadBusy when another process
        still writes, MultipartLost when the storage has forgotten the multipart upload.
        """
        ...

    def open(self, location: Location, span: ByteRange) -> AbstractAsyncContextManager[BlobContent]:
        """Open bytes of an object for reading. Leaving the context stops the transfer from the storage at once.

        Raises ObjectMissing when there is no such object and ObjectDamaged when it has not so many bytes.
        """
        ...

    async def stat(self, location: Location) -> int | None:
        """Return the size of an object in bytes, None when there is no such object."""
        ...

    def list_objects(self, bucket: str, prefix: str, after: str = "") -> AsyncIterator[Sequence[ListedObject]]:
        """Yield the objects whose keys begin with ``prefix``, from behind the key ``after`` on.

        ``prefix`` ends with a slash. The objects of one folder come in the order of their bytes; services differ about
        where among them a folder comes whose name begins like theirs. Memory does not grow with the number of objects.
        What is stored or removed meanwhile is listed or not. A bucket that is not there is StorageUnavailable, not
        empty.
        """
        ...

    def list_uploads(self, bucket: str, prefix: str) -> AsyncIterator[Sequence[ListedUpload]]:
        """Yield the unfinished multipart uploads of keys that begin with ``prefix``; raises NotOffered.

        ``prefix`` is a whole key or ends with a slash. Several uploads may have one key.
        """
        ...

    async def store(self, location: Location, content: bytes) -> None:
        """Store a small object, whole and durable when this returns; may be repeated with the same bytes."""
        ...

    async def remove(self, location: Location, multipart_id: str | None) -> None:
        """Delete an object and abort its multipart upload; what does not exist counts as removed."""
        ...

    async def abort(self, location: Location, multipart_id: str) -> None:
        """Drop a multipart upload and its parts; one that is not known counts as dropped, and an object stays."""
        ...

    async def presign(self, location: Location, endpoint: Endpoint) -> str | None:
        """Return an address from which a client may read the object for some minutes; None if there are none.

        It is where clients of this endpoint reach the storage, which may have one address inside and another outside.
        Asked again within a minute, it returns the same address, so that caches between here and there can help.
        """
        ...
