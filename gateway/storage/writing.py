"""The appender of the file system: one file per upload, locked, written in the background, synced before it counts."""

from __future__ import annotations

import asyncio
import os
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from gateway.durable import sync_folder
from gateway.errors import BackendError, MultipartLost, ObjectDamaged, ObjectMissing, StorageFull, UploadBusy
from gateway.ports.storage import Completed, Stored
from gateway.storage.buffers import FIRST_BUFFER, LEAST_ROOM, FirstBuffer, fill, is_slow
from gateway.storage.files import LocalFile, is_key, storage_errors
from gateway.storage.tasks import cancelled, in_thread, receiving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gateway.ports.storage import UploadRecorder
    from gateway.storage.buffers import Share
    from gateway.storage.files import Folders

BUFFER_SIZE = 1 << 20
"""Bytes that are written at once; an upload holds two such buffers, one to fill while the other is written.

Before that it has to fill its first buffer: clients that send little or nothing hold little memory.
"""
RECORD_EVERY = 32 << 20
"""Bytes after which an upload is synced and its progress recorded."""
_TAKEN_AT_ONCE = 8 << 20
"""Bytes after which a thread that receives and writes lets others have their turn."""
_LOCK_POLL_SECONDS = 0.05


class FileAppender:
    """An Appender that writes into the file which will be the object."""

    def __init__(
        self,
        bucket: Path,
        stored: Stored,
        recorder: UploadRecorder,
        folders: Folders,
        first_share: Share,
        share: Share,
        *,
        lock_seconds: float,
    ) -> None:
        self._bucket = bucket
        self._stored = stored
        self._recorder = recorder
        self._folders = folders
        self._share = share
        self._lock_seconds = lock_seconds
        self._file = LocalFile()
        self._key = stored.key
        self._first = FirstBuffer(first_share)
        self._memory: memoryview | None = None
        self._half = 0
        self._filled = 0
        # Everything before belongs to buffers that were handed to the writer.
        self._handed = stored.offset
        self._recorded = stored.offset
        self._hash_state = self._hash_state_before = recorder.hash_state()
        self._writing: asyncio.Task[None] | None = None
        self._is_full = False

    async def open(self) -> None:
        """Open and lock the file of an upload that goes on; a new one is made with its first byte."""
        if self._key is None:
            return
        try:
            if self._stored.offset:
                await self._open_file(self._key, os.O_RDWR)
            else:
                # Its key was chosen, and then nothing may have come of it, not even its folder.
                await self._make_file(self._key, os.O_RDWR | os.O_CREAT)
        except ObjectMissing as error:
            raise MultipartLost(f"the file of the upload is gone: {error}") from error
        await self._lock()
        with storage_errors(f"cutting {self._key}"):
            await in_thread(self._file.cut, self._stored.offset)

    async def buffer(self) -> memoryview:
        """Return the rest of the buffer that is not being written."""
        self._check()
        if self._memory is not None:
            return self._current()[self._filled :]
        if self._first.begun is None:
            await self._ensure_file()
        elif self._handed > self._stored.offset:
            slow = is_slow(FIRST_BUFFER, self._first.begun)
            self._memory = memoryview(await self._share.take(2 * BUFFER_SIZE, slow=slow))
            return self._memory[:BUFFER_SIZE]
        return await self._first.space(self._filled)

    async def filled(self, count: int) -> None:
        """Count bytes in and hand a full buffer to the writer."""
        self._check()
        if count:
            self._filled += count
            # Taken here and not when it is needed: a body that is cut off may be hashed further than this.
            self._hash_state = self._recorder.hash_state()
        size = FIRST_BUFFER if self._memory is None else BUFFER_SIZE
        if size - self._filled < LEAST_ROOM:
            await self._hand_over()

    async def take(self, receive_now: Callable[[memoryview], int]) -> None:
        """Receive into both halves of the memory and write from there, in one thread."""
        if self._memory is None:
            return
        if self._filled:
            await self._hand_over()
        await self._written()
        is_ahead = True
        while is_ahead:
            with self._errors("writing"):
                is_ahead = await receiving(partial(self._receive_and_write, self._memory, receive_now))
            await self._record_if_due(self._handed, self._hash_state)

    def is_wanted(self) -> bool:
        """Whether others need the memory."""
        return self._first.is_wanted() or self._share.is_wanted()

    async def checkpoint(self, *, last: bool) -> Stored:
        """Make all bytes durable; a file has no tail to prepare for."""
        del last
        if self._file.descriptor < 0:
            return self._stored
        await self._flush()
        return Stored(
            key=self._key,
            part_numbers_reserved=self._stored.part_numbers_reserved,
            solid=self._handed,
        )

    async def complete(self) -> Completed:
        """Make all bytes durable: the file is the object."""
        key = await self._ensure_file()
        await self._flush()
        size = self._file.size()
        if size != self._handed:
            raise ObjectDamaged(f"{key} has {size} bytes, {self._handed} were written")
        return Completed(key, size)

    async def salvage(self) -> None:
        """Sync and record all that was handed in, unless the storage has failed."""
        if self._handed + self._filled == self._recorded:
            return
        with suppress(BackendError):
            await self._flush()
            await self._recorder.progressed(self._handed, (), self._hash_state)
            self._recorded = self._handed

    async def close(self) -> None:
        """Wait for the thread that writes, then give up file, lock and memory."""
        try:
            if self._writing is not None:
                await cancelled((self._writing,))
            if self._is_full:
                await self._give_room_back()
        finally:
            self._file.close()
            self._share.close(reuse=True)
            self._first.close(reuse=True)

    # --- the file --------------------------------------------------------------------------------

    async def _ensure_file(self) -> str:
        """Make the file of a new upload, under a key that is committed before."""
        if self._key is None:
            key = await self._recorder.new_target()
            await self._make_file(key, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            await self._lock()
            self._key = key
        return self._key

    async def _make_file(self, key: str, flags: int) -> None:
        with storage_errors(f"making {key}", self._bucket):
            await in_thread(self._make, self._path(key), flags)

    def _make(self, path: Path, flags: int) -> None:
        self._folders.make(path.parent, self._bucket)
        self._file.open(path, flags)

    async def _open_file(self, key: str, flags: int) -> None:
        with storage_errors(f"opening {key}", self._bucket):
            await in_thread(self._file.open, self._path(key), flags)

    async def _lock(self) -> None:
        """Lock the file; whoever had the upload before may need a moment to stop.

        The upload may have been taken over, and completed, before we had the lock: a published blob must not be cut or
        written to. Whoever takes it over from now on waits for our lock.
        """
        try:
            async with asyncio.timeout(self._lock_seconds):
                with storage_errors("locking the file of an upload"):
                    while not self._file.try_lock():  # noqa: ASYNC110 - the kernel sends no event
                        await asyncio.sleep(_LOCK_POLL_SECONDS)
        except TimeoutError as error:
            raise UploadBusy("another process still writes to the file of this upload") from error
        await self._recorder.confirm()

    def _path(self, key: str) -> Path:
        if not is_key(key):
            raise ValueError(f"not a key: {key!r}")
        return self._bucket / key

    async def _give_room_back(self) -> None:
        """Cut off what nobody was told of, now and not when the session ends, once nobody can be told of it."""
        with suppress(BackendError), storage_errors(f"cutting {self._key}"):
            await self._recorder.progressed(self._stored.offset, (), self._hash_state_before)
            await in_thread(self._file.cut, self._stored.offset)

    # --- writing ---------------------------------------------------------------------------------

    def _check(self) -> None:
        """Raise the error of a write that has failed."""
        if self._writing is not None and self._writing.done():
            self._writing.result()

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        """Translate errors, and remember that the disk was full."""
        try:
            with storage_errors(f"{doing} {self._key}"):
                yield
        except StorageFull:
            self._is_full = True
            raise

    def _current(self) -> memoryview:
        if self._memory is not None:
            return self._memory[self._half * BUFFER_SIZE : (self._half + 1) * BUFFER_SIZE]
        return self._first.content(self._filled)

    async def _hand_over(self) -> None:
        """Write the filled buffer in the background, once the other one is written."""
        await self._written()
        self._writing = asyncio.create_task(
            self._write(self._current()[: self._filled], self._handed, self._hash_state),
        )
        self._handed += self._filled
        self._filled = 0
        if self._memory is not None:
            self._half = 1 - self._half

    async def _written(self) -> None:
        """Wait for the write in progress. One that failed stays, so that its error comes up again."""
        if self._writing is not None:
            await asyncio.wait((self._writing,))
            self._writing.result()
            self._writing = None

    async def _flush(self) -> None:
        if self._filled:
            await self._hand_over()
        await self._written()
        await self._sync()

    def _receive_and_write(self, memory: memoryview, receive_now: Callable[[memoryview], int]) -> bool:
        """Return whether more has arrived; whenever this ends, what counts as handed over is written."""
        end = self._handed + _TAKEN_AT_ONCE
        while self._handed < end:
            count = fill(memory, receive_now)
            hash_state = self._recorder.hash_state()
            self._file.write(memory[:count], self._handed)
            self._handed += count
            self._hash_state = hash_state
            if len(memory) - count >= LEAST_ROOM:
                return False
        return True

    async def _write(self, data: memoryview, offset: int, hash_state: bytes | None) -> None:
        with self._errors("writing"):
            await in_thread(self._file.write, data, offset)
        await self._record_if_due(offset + len(data), hash_state)

    async def _record_if_due(self, solid: int, hash_state: bytes | None) -> None:
        if solid - self._recorded >= RECORD_EVERY:
            await self._sync()
            await self._recorder.progressed(solid, (), hash_state)
            self._recorded = solid

    async def _sync(self) -> None:
        """Make file and name durable."""
        assert self._key is not None
        with self._errors("syncing"):
            await in_thread(self._sync_file, self._path(self._key))

    def _sync_file(self, path: Path) -> None:
        self._file.sync()
        if not self._stored.offset:
            sync_folder(path.parent)
