"""Chunks become parts: the appender for storage services with multipart uploads (docs: architecture, Parts)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from gateway.errors import (
    BackendError,
    LeaseLost,
    MultipartLost,
    ObjectDamaged,
    ObjectMissing,
    StorageUnavailable,
)
from gateway.ports.storage import Completed, Location, Part, Segment, Stored
from gateway.storage.buffers import FIRST_BUFFER, FirstBuffer, fill, is_slow
from gateway.storage.flight import PartsInFlight
from gateway.storage.multipart import MultipartStore, PartNumbers, Sent, choose_part_size
from gateway.storage.tasks import receiving, together

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.ports.storage import UploadRecorder
    from gateway.storage.buffers import BufferPool

SALVAGE_SECONDS = 30.0
_SEGMENTS_AT_ONCE = 8
_LEAST_PARTS_IN_MEMORY = 8


@dataclass(frozen=True, slots=True)
class UploadMemory:
    """The pools that uploads draw from, and how much of one upload may be on its way at once.

    Every part begins in the upload's first buffer, so that an upload which sends little holds little, and the very
    first bytes in a small one that no other upload can wait for.
    First buffers have a pool of their own: an upload waits for a part buffer while it holds its first
    one, never the other way round, so no two uploads can wait for each other.
    """

    first: BufferPool
    parts: BufferPool
    part_size: int
    parts_in_flight: int

    @property
    def largest_part(self) -> int:
        """Size in bytes that parts may have without one upload keeping all others from their memory."""
        return max(self.part_size, self.parts.capacity // _LEAST_PARTS_IN_MEMORY)


@dataclass(slots=True)
class _OpenPart:
    """The part that is being filled: ``hole`` bytes which still lie in segments, and new ones behind them."""

    start: int
    hole: int
    size: int
    filled: int
    memory: bytearray | None = None
    hash_state: bytes | None = None
    begun: float | None = None
    """When the client was first waited for, by the loop's clock."""

    @property
    def fresh(self) -> int:
        """Number of bytes that this request brought."""
        return self.filled - self.hole

    @property
    def full(self) -> bool:
        return self.filled == self.size


class MultipartAppender:
    """An Appender over a MultipartStore.

    A full part is sent as soon as it is known that another byte follows; before that it might be all
    of a blob, which then takes one PutObject. Of ``_waiting`` and ``_open`` only one holds bytes.
    """

    def __init__(
        self,
        store: MultipartStore,
        bucket: str,
        stored: Stored,
        recorder: UploadRecorder,
        memory: UploadMemory,
        *,
        length: int | None,
    ) -> None:
        self._store = store
        self._bucket = bucket
        self._stored = stored
        self._recorder = recorder
        self._part_size = choose_part_size(stored, length, usual=memory.part_size, largest=memory.largest_part)
        # A key without a multipart upload may have been used for one that was never heard of again.
        self._key = stored.key if stored.multipart_id is not None else None
        self._multipart_id = stored.multipart_id
        self._numbers = PartNumbers(recorder, stored.part_numbers_reserved)
        self._first = FirstBuffer(memory.first.share())
        self._share = memory.parts.share()
        self._flight = PartsInFlight(recorder, stored, limit=memory.parts_in_flight, on_error=self._share.fail)
        self._waiting: _OpenPart | None = None
        hole = stored.offset - stored.solid
        self._open = _OpenPart(stored.solid, hole, self._part_size, hole)
        # Calls after which a connection may still hold unsent bytes of the buffers that are left at the end.
        self._doubtful_calls = 0
        if self._open.full:
            self._set_aside()

    async def buffer(self) -> memoryview:
        """Return free space of the open part, in the first buffer while that lasts."""
        self._flight.check()
        part = self._open
        if part.begun is None:
            part.begun = asyncio.get_running_loop().time()
        if part.memory is None:
            room = min(FIRST_BUFFER, part.size - part.hole) - part.fresh
            if room:
                return (await self._first.space(part.fresh))[:room]
            await self._take_memory(part)
        return memoryview(part.memory or b"")[part.filled :]

    async def filled(self, count: int) -> None:
        """Count bytes in; send the part when it is full, or the one before it now that more has come."""
        self._flight.check()
        if not count:
            return
        if self._waiting is not None:
            await self._begin()
            await self._send_off(self._waiting)
            self._waiting = None
        part = self._open
        part.filled += count
        if part.full:
            self._set_aside()
            if part.memory is None:
                await self._take_memory(part)
            if self._multipart_id is not None:
                await self._send_off(part)
                self._waiting = None

    async def take(self, receive_now: Callable[[memoryview], int]) -> None:
        """Receive what is left of the open part in a thread."""
        part = self._open
        if part.memory is not None:
            space = memoryview(part.memory)[part.filled :]
            await self.filled(await receiving(partial(fill, space, receive_now)))

    def is_wanted(self) -> bool:
        """Whether others need the memory."""
        return self._first.is_wanted() or self._share.is_wanted()

    async def checkpoint(self, *, last: bool) -> Stored:
        """Store what does not fill a part as one more segment of the tail."""
        rest = await self._land()
        tail, tail_part = self._old_tail(), self._stored.tail_part
        if rest.fresh:
            segment, tail_part = await self._store_tail(rest, also_as_part=last and not rest.hole)
            tail = (*tail, segment)
        elif not rest.hole:
            tail_part = None
        return Stored(
            key=self._key,
            multipart_id=self._multipart_id,
            part_size=self._part_size if self._multipart_id is not None else 0,
            # Numbers above were never sent: everything that was in flight has landed.
            part_numbers_reserved=self._numbers.used,
            completing=self._stored.completing,
            parts=tuple(self._flight.parts),
            solid=self._flight.solid,
            tail=tail,
            tail_part=tail_part,
        )

    async def complete(self) -> Completed:
        """Make one object by the cheapest way: a segment as it stands, one PutObject, or the multipart upload."""
        rest = await self._land()
        size = rest.start + rest.filled
        if self._multipart_id is not None and size:
            return await self._complete_multipart(rest, size)
        tail = self._old_tail()
        if len(tail) == 1 and not rest.fresh:
            absent = MultipartLost(f"the only segment of the upload, {tail[0].key}, is gone")
            return Completed(tail[0].key, await self._stored_size(tail[0].key, size, absent))
        key = await self._recorder.new_target()
        await self._put(key, await self._gather(rest))
        return Completed(key, size)

    async def salvage(self) -> None:
        """Wait some time for the parts in flight, which record themselves."""
        with suppress(TimeoutError):
            async with asyncio.timeout(SALVAGE_SECONDS):
                await self._flight.rest()
        if isinstance(self._flight.error, LeaseLost):
            raise self._flight.error

    async def close(self) -> None:
        """Stop what is in flight and give all memory back."""
        try:
            await self._flight.cancel()
        finally:
            self._share.close(reuse=not self._doubtful_calls)
            self._first.close(reuse=not self._doubtful_calls)

    # --- filling ---------------------------------------------------------------------------------

    def _set_aside(self) -> None:
        """Put the full part where it waits for the next byte, and open the one behind it."""
        part = self._open
        part.hash_state = self._recorder.hash_state()
        self._waiting = part
        self._open = _OpenPart(part.start + part.size, 0, part.size, 0)

    async def _take_memory(self, part: _OpenPart) -> None:
        """Give a part a buffer of its own and move there what lies in the first buffer."""
        part.memory = await self._share.take(part.size, slow=part.begun is not None and is_slow(part.fresh, part.begun))
        part.memory[part.hole : part.filled] = self._first.content(part.fresh)

    async def _begin(self) -> None:
        """Create the multipart upload, unless there is one."""
        if self._multipart_id is not None:
            return
        self._key = await self._recorder.new_target()
        multipart_id = await self._store.create_multipart(self._at(self._key))
        try:
            await self._recorder.multipart_started(multipart_id, self._part_size)
        except LeaseLost:
            with suppress(BackendError):
                await self._store.abort(self._at(self._key), multipart_id)
            raise
        self._multipart_id = multipart_id

    async def _send_off(self, part: _OpenPart) -> None:
        """Send a full part in the background."""
        if part.memory is None:
            await self._take_memory(part)
        await self._flight.room()
        number = await self._numbers.take()
        self._flight.launch(partial(self._send_part, part, number), part.hash_state)

    async def _send_part(self, part: _OpenPart, number: int) -> Part:
        """Complete a part with the bytes of its segments, store it, and give its memory back."""
        assert part.memory is not None
        clean = True
        try:
            view = memoryview(part.memory)
            await self._read_segments(view[: part.hole])
            clean = False
            sent = await self._upload(number, [view])
            clean = not sent.repeated
        finally:
            self._share.give(part.memory, reuse=clean)
        return Part(number, part.start, part.size, sent.etag)

    # --- ending ----------------------------------------------------------------------------------

    async def _land(self) -> _OpenPart:
        """Wait for the parts in flight and return the part that holds what is left."""
        await self._flight.land()
        rest = self._waiting or self._open
        if self._flight.solid != rest.start:
            raise StorageUnavailable("the upload was interrupted while a part was being sent")
        return rest

    def _old_tail(self) -> tuple[Segment, ...]:
        """Return the segments that no part has taken in yet."""
        return self._stored.tail if self._flight.solid == self._stored.solid else ()

    async def _store_tail(self, rest: _OpenPart, *, also_as_part: bool) -> tuple[Segment, Part | None]:
        """Store the fresh bytes as a segment and, when the client seems to be done, as a part at the same time."""
        body, start = self._fresh(rest), rest.start + rest.hole
        key = await self._recorder.new_segment()
        if self._multipart_id is None or not also_as_part:
            await self._put(key, [body])
            return Segment(key, start, rest.fresh), None
        number = await self._numbers.take()
        _, sent = await together(self._put(key, [body]), self._send(number, [body]))
        return Segment(key, start, rest.fresh), Part(number, start, rest.fresh, sent.etag)

    async def _complete_multipart(self, rest: _OpenPart, size: int) -> Completed:
        assert self._key is not None
        assert self._multipart_id is not None
        location = self._at(self._key)
        certain = not self._stored.completing
        try:
            parts = [*self._flight.parts, *await self._last_part(rest)]
            await self._recorder.completing()
            # Where it was completed before, some services answer with success, whatever parts are listed now.
            await self._store.complete_multipart(location, self._multipart_id, parts)
        except MultipartLost:
            # A call whose answer was lost has completed it: ours, or one of an earlier request with other parts.
            if await self._store.stat(location) != size:
                raise
            certain = False
        absent = StorageUnavailable(f"the storage completed {self._key} but does not show it")
        return Completed(self._key, await self._stored_size(self._key, size, absent), certain)

    async def _last_part(self, rest: _OpenPart) -> list[Part]:
        """Return what the multipart upload still needs: the part that was sent ahead, or one that is sent now."""
        ahead = self._stored.tail_part
        if ahead is not None and rest.hole == ahead.size and not rest.fresh:
            return [ahead]
        if not rest.filled:
            return []
        body = await self._gather(rest)
        number = await self._numbers.take()
        sent = await self._send(number, body)
        return [Part(number, rest.start, rest.filled, sent.etag)]

    async def _stored_size(self, key: str, size: int, absent: BackendError) -> int:
        """Return the size of an object as the storage states it, which must be the one that was written."""
        found = await self._store.stat(self._at(key))
        if found is None:
            raise absent
        if found != size:
            raise ObjectDamaged(f"the storage holds {found} bytes under {key}, {size} were written")
        return found

    # --- moving bytes ----------------------------------------------------------------------------

    def _fresh(self, part: _OpenPart) -> memoryview:
        """Return the bytes that this request brought, wherever they lie."""
        if part.memory is not None:
            return memoryview(part.memory)[part.hole : part.filled]
        return self._first.content(part.fresh)

    async def _gather(self, rest: _OpenPart) -> list[memoryview]:
        """Return all bytes of the part that was left over; those of the segments are read back."""
        if not rest.hole:
            return [self._fresh(rest)]
        if rest.memory is None:
            await self._take_memory(rest)
        view = memoryview(rest.memory or b"")
        await self._read_segments(view[: rest.hole])
        return [view[: rest.filled]]

    async def _read_segments(self, into: memoryview) -> None:
        """Read the tail into memory of its size, a few segments at a time."""
        if not into:
            return
        try:
            for index in range(0, len(self._stored.tail), _SEGMENTS_AT_ONCE):
                batch = self._stored.tail[index : index + _SEGMENTS_AT_ONCE]
                await together(*(self._read_segment(segment, into) for segment in batch))
        except ObjectMissing as error:
            raise MultipartLost(f"the tail of the upload is gone: {error}") from error

    async def _read_segment(self, segment: Segment, into: memoryview) -> None:
        place = segment.start - self._stored.solid
        await self._store.read(self._at(segment.key), into[place : place + segment.size])

    async def _put(self, key: str, body: list[memoryview]) -> Sent:
        return await self._sent(self._store.put(self._at(key), body))

    async def _send(self, number: int, body: list[memoryview]) -> Sent:
        return await self._sent(self._upload(number, body))

    async def _sent(self, call: Awaitable[Sent]) -> Sent:
        self._doubtful_calls += 1
        sent = await call
        if not sent.repeated:
            self._doubtful_calls -= 1
        return sent

    async def _upload(self, number: int, body: list[memoryview]) -> Sent:
        assert self._key is not None
        assert self._multipart_id is not None
        return await self._store.upload_part(self._at(self._key), self._multipart_id, number, body)

    def _at(self, key: str) -> Location:
        return Location(self._bucket, key)
