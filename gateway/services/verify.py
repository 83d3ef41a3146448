"""The one place where a digest is accepted.

A blob is published for one of two reasons only: its bytes passed through ``VerifyingSource``, which raises instead
of ending when they do not have the announced digest, or ``read_digest`` has read the finished object again.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from gateway.errors import DigestMismatch, ObjectDamaged
from gateway.model.ranges import ByteRange
from gateway.ports.storage import FileRange
from gateway.services.hashing import Hasher, new_hasher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.model.digest import Digest
    from gateway.ports.storage import BlobContent, BlobStorage, BodySource, Location

_SLICE = 1024 * 1024
_HASHED_AT_ONCE = 256 * 1024
"""Bytes after which others get their turn: a thread for the hash would cost more than these 0.15 ms."""


class VerifyingSource:
    """A body source that hashes what passes through and does not end when the digest is wrong.

    ``hasher`` has taken over what was received before; None when that is not known, and then nothing is verified here.
    ``alone``, if given, hashes this body only: a body that is the whole blob by itself ends as well.
    """

    def __init__(
        self, source: BodySource, hasher: Hasher | None, expected: Digest | None, alone: Hasher | None = None
    ) -> None:
        self._source = source
        self._hasher = hasher
        self._expected = expected
        self._alone = alone
        self.received = 0
        """Number of bytes that came through here."""
        self.verified = False
        """True once the body has ended and everything up to there has the expected digest."""
        self.alone = False
        """True once the body has ended and has the expected digest without what was received before."""

    async def receive_into(self, buffer: memoryview) -> int:
        """See BodySource; raises DigestMismatch at the end of a body with another digest."""
        count = await self._source.receive_into(buffer)
        if not count:
            self._end()
            return 0
        self.received += count
        for start in range(0, count, _HASHED_AT_ONCE):
            if start:
                await asyncio.sleep(0)
            for hasher in (self._hasher, self._alone):
                if hasher is not None:
                    hasher.update(buffer[start : min(count, start + _HASHED_AT_ONCE)])
        return count

    def receive_now(self, buffer: memoryview) -> int:
        """See BodySource."""
        count = self._source.receive_now(buffer)
        self.received += count
        for hasher in (self._hasher, self._alone):
            if hasher is not None:
                hasher.update(buffer[:count])
        return count

    def hash_state(self) -> bytes | None:
        """Export the state of the hash over everything received; None when it is not known."""
        return self._hasher.state() if self._hasher else None

    def _end(self) -> None:
        if self._expected is None:
            return
        self.verified = self._hasher is not None and self._hasher.digest() == self._expected
        if self.verified:
            return
        self.alone = self._alone is not None and self.received > 0 and self._alone.digest() == self._expected
        if self._hasher is not None and not self.alone:
            check_digest(self._hasher.digest(), self._expected)


class ContentSource:
    """A body source that reads opened content of the storage."""

    def __init__(self, content: BlobContent) -> None:
        self._pieces = pieces(content)
        self._rest = memoryview(b"")

    async def receive_into(self, buffer: memoryview) -> int:
        """See BodySource."""
        if not self._rest:
            self._rest = await anext(self._pieces, memoryview(b""))
        count = min(len(self._rest), len(buffer))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def receive_now(self, buffer: memoryview) -> int:
        """See BodySource: nothing is there before it was waited for."""
        del buffer
        return 0


async def drain(source: BodySource) -> None:
    """Receive a body to its end and forget it."""
    buffer = memoryview(bytearray(64 * 1024))
    while await source.receive_into(buffer):
        pass


def check_digest(found: Digest, expected: Digest) -> None:
    """Raise DigestMismatch unless the digests are the same."""
    if found != expected:
        raise DigestMismatch(f"the content has digest {found}, not {expected}")


async def read_digest(storage: BlobStorage, location: Location, size: int, algorithm: str) -> Digest:
    """Read an object from beginning to end and return its digest."""
    hasher = new_hasher(algorithm)
    if size:
        async with storage.open(location, ByteRange(0, size)) as content:
            async for piece in pieces(content):
                await asyncio.to_thread(hasher.update, piece)
    return hasher.digest()


async def pieces(content: BlobContent) -> AsyncIterator[memoryview]:
    """Yield the bytes of opened content, each piece valid until the next is asked for."""
    if not isinstance(content, FileRange):
        async for chunk in content.chunks:
            yield memoryview(bytearray(chunk))
        return
    buffer = memoryview(bytearray(_SLICE))
    done = 0
    while done < content.length:
        wanted = buffer[: content.length - done]
        count = await asyncio.to_thread(os.preadv, content.descriptor, [wanted], content.start + done)
        if not count:
            raise ObjectDamaged("a stored file is shorter than it was when it was opened")
        yield buffer[:count]
        done += count
