"""Upload sessions in memory: what the database would note, and a check that it was noted in the right order."""

from __future__ import annotations

import asyncio
import hashlib
import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from gateway.errors import LeaseLost
from gateway.model.ranges import ByteRange
from gateway.ports.storage import FileRange, Location, Stored

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from gateway.ports.storage import Appender, BlobStorage, Part

BUCKET = "contract"


@dataclass(slots=True)
class Ledger:
    """What has been committed anywhere, against which every call to the storage is checked."""

    keys: set[str] = field(default_factory=set)
    reserved: dict[str, int] = field(default_factory=dict)
    sent: dict[tuple[str, int], bytes] = field(default_factory=dict)
    put: set[str] = field(default_factory=set)

    def check_put(self, key: str) -> None:
        assert key in self.keys, f"{key} was stored before it was committed"
        assert key not in self.put, f"{key} was stored twice"
        self.put.add(key)

    def check_part(self, key: str, multipart_id: str, number: int, body: Sequence[memoryview]) -> None:
        assert key in self.keys, f"{key} got a part before it was committed"
        assert number <= self.reserved.get(multipart_id, 0), f"part {number} was not reserved"
        content = hashlib.sha256(b"".join(body)).digest()
        known = self.sent.setdefault((multipart_id, number), content)
        assert known == content, f"part {number} was sent with two contents"


@dataclass(slots=True)
class Session:
    """The row of an upload session, and the recorder of the one process that works on it."""

    ledger: Ledger
    random: random.Random
    key: str | None = None
    multipart_id: str | None = None
    part_size: int = 0
    reserved: int = 0
    is_completing: bool = False
    committed: Stored = field(default_factory=Stored)
    committed_bytes: bytes = b""
    progress: Stored = field(default_factory=Stored)
    received: bytearray = field(default_factory=bytearray)
    hash: hashlib._Hash = field(default_factory=hashlib.sha256)
    calls: list[str] = field(default_factory=list)
    lose_lease_at: str | None = None
    """The recorder's method that finds the lease lost."""

    def begin(self, *, at_progress: bool = False) -> Stored:
        """Return where a request begins; the bytes before it count as received."""
        stored = self.progress if at_progress else self.committed
        whole = bytes(self.received)
        self.received = bytearray((whole if at_progress else self.committed_bytes)[: stored.offset])
        self.hash = hashlib.sha256(self.received)
        self.progress = stored
        return replace(
            stored,
            key=self.key,
            multipart_id=self.multipart_id,
            part_size=self.part_size,
            part_numbers_reserved=self.reserved,
            completing=self.is_completing,
        )

    def receive(self, data: bytes) -> None:
        """Count bytes in, as the body source does."""
        self.received += data
        self.hash.update(data)

    def commit(self, stored: Stored) -> None:
        """Note the end of a request that was answered."""
        assert stored.offset == len(self.received)
        assert [part.start for part in stored.parts] == _starts(part.size for part in stored.parts)
        ahead = stored.tail_part
        assert ahead is None or (ahead.start, ahead.start + ahead.size) == (stored.solid, stored.offset)
        self.committed = self.progress = stored
        self.committed_bytes = bytes(self.received)
        self.reserved = stored.part_numbers_reserved
        if self.multipart_id is not None:
            self.ledger.reserved[self.multipart_id] = self.reserved

    # --- UploadRecorder --------------------------------------------------------------------------

    async def new_target(self) -> str:
        await self._note("new_target")
        self.key, self.is_completing = self._fresh(), False
        return self.key

    async def new_segment(self) -> str:
        await self._note("new_segment")
        return self._fresh()

    async def multipart_started(self, multipart_id: str, part_size: int) -> None:
        await self._note("multipart_started")
        self.multipart_id, self.part_size = multipart_id, part_size

    async def reserve_part_numbers(self, through: int) -> None:
        await self._note("reserve_part_numbers")
        self.reserved = max(self.reserved, through)
        if self.multipart_id is not None:
            self.ledger.reserved[self.multipart_id] = self.reserved

    async def completing(self) -> None:
        await self._note("completing")
        self.is_completing = True

    async def confirm(self) -> None:
        await self._note("confirm")

    async def progressed(self, solid: int, parts: Sequence[Part], hash_state: bytes | None) -> None:
        await self._note("progressed")
        assert hash_state == hashlib.sha256(self.received[:solid]).digest(), "the hash state is of other bytes"
        self.progress = Stored(solid=solid, parts=(*self.progress.parts, *parts))
        assert not parts or sum(part.size for part in self.progress.parts) == solid

    def hash_state(self) -> bytes | None:
        return self.hash.digest()

    async def _note(self, method: str) -> None:
        self.calls.append(method)
        await asyncio.sleep(0)
        if self.lose_lease_at == method:
            raise LeaseLost("another process has the upload")

    def _fresh(self) -> str:
        key = f"slipway/test/objects/{self.random.randbytes(16).hex()}"
        self.ledger.keys.add(key)
        return key


def _starts(sizes: object) -> list[int]:
    starts, place = [], 0
    for size in sizes:  # type: ignore[attr-defined]
        starts.append(place)
        place += size
    return starts


async def feed(appender: Appender, session: Session, data: bytes, *, step: int = 1 << 20) -> None:
    """Hand data to an appender, at most ``step`` bytes at once."""
    place = 0
    while place < len(data):
        buffer = await appender.buffer()
        count = min(len(buffer), len(data) - place, step)
        assert count
        buffer[:count] = data[place : place + count]
        session.receive(data[place : place + count])
        place += count
        await appender.filled(count)


async def take(appender: Appender, session: Session, data: bytes, *, step: int = 1 << 20) -> None:
    """Hand data to an appender as a client that is always ahead does."""
    place = 0

    def receive_now(buffer: memoryview) -> int:
        nonlocal place
        count = min(len(buffer), len(data) - place, step)
        buffer[:count] = data[place : place + count]
        session.receive(data[place : place + count])
        place += count
        return count

    while place < len(data):
        count = receive_now(await appender.buffer())
        await appender.filled(count)
        await appender.take(receive_now)


async def patch(storage: BlobStorage, session: Session, data: bytes, *, last: bool = True, step: int = 1 << 20) -> None:
    """Send one request whose end is acknowledged."""
    async with storage.appender(BUCKET, session.begin(), session, length=None) as appender:
        await feed(appender, session, data, step=step)
        session.commit(await appender.checkpoint(last=last))


async def finish(storage: BlobStorage, session: Session, data: bytes = b"") -> Location:
    """Send the closing request and check that the object is what was sent."""
    async with storage.appender(BUCKET, session.begin(), session, length=len(data)) as appender:
        await feed(appender, session, data)
        completed = await appender.complete()
    location = Location(BUCKET, completed.key)
    assert completed.size == len(session.received)
    assert await read(storage, location, 0, completed.size) == session.received
    return location


async def read(storage: BlobStorage, location: Location, start: int, stop: int) -> bytes:
    """Read some bytes of an object, however they are handed out."""
    async with storage.open(location, ByteRange(start, stop)) as content:
        if isinstance(content, FileRange):
            return os.pread(content.descriptor, content.length, content.start)
        assert content.length == stop - start
        return b"".join([chunk async for chunk in content.chunks])
