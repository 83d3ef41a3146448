"""The journal of counters: a file in memory, in which counting is one store.

    header    magic, journal id, installation id, number of the next batch
    regions   each: state, batch number, counters in use | keys with checksums | (count, last) pairs

One region is active: counting finds its counter's place in a dict and adds to the pair there. Freezing gives the region
the next number and makes a free one active. A kill leaves whatever was stored in the page cache, in the order of the
stores; a counter is in use once the number of counters says so, which is stored last. A crash of the machine can lose
what was not synced, and can bring back a page without its neighbour: keys carry checksums, and a broken one counts for
nothing; and a region that was cleared is used again only after that was synced, or old counts could come back in a new
batch.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Self
from uuid import UUID, uuid4

from gateway.durable import sync_folder
from gateway.ports.counters import Batch, Count, CountKey

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.ports.counters import AnyKey

_MAGIC = b"SLIPPUL1"
_HEADER = struct.Struct("<8s16s16s")
_KEY = struct.Struct("<6q")
_WORD = 8
_NEXT_NUMBER = _HEADER.size // _WORD
_HEADER_SIZE = 64
_REGIONS = 8
SUFFIX = ".pulls"
_COUNTERS = 4096
"""Different counters in a region; beyond half of them, a batch is written early."""

_REGION_HEADER = 64
_STATE, _NUMBER, _USED = range(3)
_KEY_SIZE = _KEY.size + _WORD
_REGION_SIZE = _REGION_HEADER + _COUNTERS * (_KEY_SIZE + 2 * _WORD)
_FILE_SIZE = _HEADER_SIZE + _REGIONS * _REGION_SIZE
_FREE, _ACTIVE, _FROZEN, _CLEARED = range(4)


class JournalUnusable(Exception):
    """The file cannot be taken over: its process lives, or (``is_wrong``) it is not what it should be."""

    def __init__(self, message: str, *, is_wrong: bool = True) -> None:
        super().__init__(message)
        self.is_wrong = is_wrong


class _Region:
    """A place for one batch."""

    def __init__(self, memory: mmap.mmap, words: memoryview, place: int) -> None:
        self._memory = memory
        self._words = words
        self._header = (_HEADER_SIZE + place * _REGION_SIZE) // _WORD
        self._keys = _HEADER_SIZE + place * _REGION_SIZE + _REGION_HEADER
        self._pairs = (self._keys + _COUNTERS * _KEY_SIZE) // _WORD
        self._places: dict[AnyKey, int] = {}

    @property
    def state(self) -> int:
        return int(self._words[self._header + _STATE])

    @state.setter
    def state(self, state: int) -> None:
        self._words[self._header + _STATE] = state

    @property
    def number(self) -> int:
        return int(self._words[self._header + _NUMBER])

    @number.setter
    def number(self, number: int) -> None:
        self._words[self._header + _NUMBER] = number

    @property
    def used(self) -> int:
        return int(self._words[self._header + _USED])

    def add(self, key: AnyKey, amount: int, now: int) -> bool:
        pair = self._places.get(key)
        if pair is None:
            pair = self._place(key)
            if pair is None:
                return False
        words = self._words
        words[pair] += amount
        words[pair + 1] = now
        return True

    def _place(self, key: AnyKey) -> int | None:
        used = self.used
        if used == _COUNTERS:
            return None
        packed = _KEY.pack(*key)
        start = self._keys + used * _KEY_SIZE
        self._memory[start : start + _KEY.size] = packed
        self._words[(start + _KEY.size) // _WORD] = zlib.crc32(packed)
        pair = self._pairs + 2 * used
        self._places[key] = pair
        self._words[self._header + _USED] = used + 1
        return pair

    def counts(self) -> tuple[Count, ...]:
        """Read what was counted, without keys that a crash of the machine has broken."""
        words = self._words
        if self._places:
            # Counted by this process, which knows its keys.
            return tuple(Count(CountKey(*key), words[pair], words[pair + 1]) for key, pair in self._places.items())
        found = []
        for place in range(min(self.used, _COUNTERS)):
            start = self._keys + place * _KEY_SIZE
            packed = self._memory[start : start + _KEY.size]
            amount, last = self._words[self._pairs + 2 * place], self._words[self._pairs + 2 * place + 1]
            if amount and self._words[(start + _KEY.size) // _WORD] == zlib.crc32(packed):
                found.append(Count(CountKey(*_KEY.unpack(packed)), amount, last))
        return tuple(found)

    def clear(self) -> None:
        """Empty it. A kill in the middle leaves a batch whose number was written, which is dropped again."""
        pairs = self._pairs * _WORD
        self._memory[pairs : pairs + 2 * _WORD * self.used] = bytes(2 * _WORD * self.used)
        self._words[self._header + _USED] = 0
        self._places.clear()
        self.state = _CLEARED


class FileBacklog:
    """A ports.counters.Backlog in a file that is mapped into memory, and locked as long as its process lives."""

    def __init__(self, path: Path, descriptor: int, journal_id: UUID) -> None:
        self.id = journal_id
        self._path = path
        self._descriptor = descriptor
        self._memory = mmap.mmap(descriptor, _FILE_SIZE)
        self._words = memoryview(self._memory).cast("Q")
        self._regions = [_Region(self._memory, self._words, place) for place in range(_REGIONS)]

    @classmethod
    def take_over(cls, path: Path, installation: UUID) -> Self:
        """Take the journal of a process that is gone; raises JournalUnusable or OSError."""
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            backlog = cls(path, descriptor, _checked(path, descriptor, installation))
        except BaseException:
            os.close(descriptor)
            raise
        for region in backlog._regions:
            if region.state == _ACTIVE and region.used:
                backlog._make_batch(region)
        return backlog

    def oldest_batch(self) -> Batch | None:
        """See the port."""
        region = self._oldest()
        return None if region is None else Batch(self.id, region.number, region.counts())

    def drop_batch(self, number: int) -> None:
        """See the port."""
        region = self._oldest()
        assert region is not None
        assert region.number == number
        region.clear()

    def sync(self) -> None:
        """See the port."""
        cleared = [region for region in self._regions if region.state == _CLEARED]
        # Not flush() of the mapping, which holds the interpreter until the disk is done.
        os.fdatasync(self._descriptor)
        for region in cleared:
            region.state = _FREE

    def remove(self) -> None:
        """See the port."""
        assert self._oldest() is None
        self._path.unlink()

    def close(self) -> None:
        """See the port."""
        self._words.release()
        self._memory.close()
        os.close(self._descriptor)

    def _make_batch(self, region: _Region) -> None:
        """Give a region the next number; that is stored first, since it must not be used twice."""
        number = self._words[_NEXT_NUMBER] + 1
        self._words[_NEXT_NUMBER] = number
        region.number = number
        region.state = _FROZEN

    def _oldest(self) -> _Region | None:
        frozen = [region for region in self._regions if region.state == _FROZEN]
        return min(frozen, key=lambda region: region.number, default=None)


class FileJournal(FileBacklog):
    """A ports.counters.Journal: a backlog that its process counts on."""

    def __init__(self, path: Path, descriptor: int, journal_id: UUID) -> None:
        super().__init__(path, descriptor, journal_id)
        self._active = self._regions[0]
        self._active.state = _ACTIVE

    @classmethod
    def create(cls, folder: Path, installation: UUID) -> Self:
        """Make a journal; raises OSError."""
        journal_id = uuid4()
        path = folder / f"{journal_id}{SUFFIX}"
        unfinished = path.with_suffix(".new")
        descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # All of it is there from the start: a store into a hole of a full disk would kill the process.
            os.posix_fallocate(descriptor, 0, _FILE_SIZE)
            os.pwrite(descriptor, _HEADER.pack(_MAGIC, journal_id.bytes, installation.bytes), 0)
            os.fsync(descriptor)
            # Only now has it a name that others look at, and it is locked already.
            unfinished.rename(path)
            sync_folder(folder)
            return cls(path, descriptor, journal_id)
        except BaseException:
            os.close(descriptor)
            with suppress(OSError):
                unfinished.unlink()
            raise

    @property
    def is_filling(self) -> bool:
        """See the port."""
        return self._active.used > _COUNTERS // 2

    @property
    def is_empty(self) -> bool:
        """See the port."""
        return not self._active.used and self._oldest() is None

    @property
    def unwritten(self) -> int:
        """See the port."""
        return sum(region.used for region in self._regions)

    def add(self, key: AnyKey, amount: int, now: int) -> bool:
        """See the port."""
        return self._active.add(key, amount, now) or (self.freeze() and self._active.add(key, amount, now))

    def remove(self) -> None:
        """See the port."""
        assert self.is_empty
        super().remove()

    def freeze(self) -> bool:
        """See the port."""
        free = next((region for region in self._regions if region.state == _FREE), None)
        if not self._active.used or free is None:
            return False
        self._make_batch(self._active)
        free.state = _ACTIVE
        self._active = free
        return True


def _checked(path: Path, descriptor: int, installation: UUID) -> UUID:
    """Lock a journal's file and return its id; raises JournalUnusable."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise JournalUnusable(f"the process of {path} lives", is_wrong=False) from error
    mine, there = os.fstat(descriptor), path.stat()
    if (mine.st_dev, mine.st_ino) != (there.st_dev, there.st_ino):
        raise JournalUnusable(f"somebody else has emptied and deleted {path}", is_wrong=False)
    if mine.st_size != _FILE_SIZE:
        raise JournalUnusable(f"{path} is no journal of this version: it has {mine.st_size} bytes")
    magic, journal_id, its_installation = _HEADER.unpack(os.pread(descriptor, _HEADER.size, 0))
    if magic != _MAGIC:
        raise JournalUnusable(f"{path} is no journal")
    if its_installation != installation.bytes:
        raise JournalUnusable(f"{path} counts pulls of another installation; it is left alone")
    return UUID(bytes=journal_id)
