"""Blobs in a local directory: ``<root>/<bucket>/<key>``, written in place under a lock, synced before they count."""

from __future__ import annotations

import os
import stat
from contextlib import asynccontextmanager, suppress
from itertools import islice
from typing import TYPE_CHECKING

from gateway.durable import make_folder
from gateway.errors import BucketMissing, ConfigurationError, ObjectDamaged, ObjectMissing
from gateway.ports.storage import LISTED_AT_ONCE, FileRange
from gateway.storage.buffers import FIRST_BUFFER, BufferPool
from gateway.storage.files import Folders, LocalFile, drafted, is_bucket, is_key, storage_errors, try_out
from gateway.storage.folder_listing import listed
from gateway.storage.tasks import in_thread
from gateway.storage.writing import BUFFER_SIZE, FileAppender

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from gateway.model.endpoints import Endpoint
    from gateway.model.ranges import ByteRange
    from gateway.ports.storage import Appender, ListedObject, ListedUpload, Location, Stored, UploadRecorder


class FilesystemStorage:
    """A BlobStorage below one root directory, for one machine or for several that share it with working locks."""

    def __init__(self, root: Path, *, buffer_memory: int = 192 << 20, lock_seconds: float = 20.0) -> None:
        self._root = root
        self._lock_seconds = lock_seconds
        self._folders = Folders()
        first = max(buffer_memory // 4, FIRST_BUFFER)
        self._first_buffers = BufferPool(first)
        self._buffers = BufferPool(max(buffer_memory - first, 2 * BUFFER_SIZE))

    @property
    def buffers(self) -> tuple[BufferPool, ...]:
        """The memory of uploads."""
        return (self._first_buffers, self._buffers)

    async def check_bucket(self, bucket: str, *, make: bool = True) -> None:
        """Try out everything that uploads will need in the bucket's directory."""
        if not is_bucket(bucket):
            raise ConfigurationError(
                f"{bucket!r} cannot be a bucket: 3 to 63 lower-case letters, digits, hyphens and single dots",
            )
        try:
            if make:
                await in_thread(make_folder, self._root / bucket, 0o750)
            await in_thread(try_out, self._root / bucket)
        except BucketMissing as error:
            raise ConfigurationError(f"{error} If it is lost for good, make an empty one") from error
        except OSError as error:
            raise ConfigurationError(
                f"{self._root / bucket} cannot be used as a bucket: {error.strerror or error}; make it a directory "
                "that this user may write to, on a file system with locks",
            ) from error

    @asynccontextmanager
    async def appender(
        self,
        bucket: str,
        stored: Stored,
        recorder: UploadRecorder,
        *,
        length: int | None,
    ) -> AsyncIterator[Appender]:
        """Go on with an upload; see BlobStorage."""
        del length  # a file has no parts
        appender = FileAppender(
            self._bucket(bucket),
            stored,
            recorder,
            self._folders,
            self._first_buffers.share(),
            self._buffers.share(),
            lock_seconds=self._lock_seconds,
        )
        try:
            await appender.open()
            yield appender
        finally:
            await appender.close()

    @asynccontextmanager
    async def open(self, location: Location, span: ByteRange) -> AsyncIterator[FileRange]:
        """Open bytes of an object."""
        path = self._path(location)
        file = LocalFile()
        try:
            with storage_errors(f"reading {location.key}", self._bucket(location.bucket)):
                await in_thread(file.open, path, os.O_RDONLY)
                size = file.size()
            if size < span.stop:
                raise ObjectDamaged(f"{location.key} has {size} bytes instead of at least {span.stop}")
            yield FileRange(file.descriptor, span.start, span.length)
        finally:
            file.close()

    async def stat(self, location: Location) -> int | None:
        """Return the size of an object in bytes, None when there is no such object."""
        try:
            with storage_errors(f"looking for {location.key}", self._bucket(location.bucket)):
                status = await in_thread(os.stat, self._path(location), follow_symlinks=False)
        except ObjectMissing:
            return None
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    async def list_objects(self, bucket: str, prefix: str, after: str = "") -> AsyncIterator[Sequence[ListedObject]]:
        """List files; a folder of the bucket that is not there may lie on a disk that is not mounted."""
        found = listed(self._bucket(bucket), prefix, after)
        while True:
            with storage_errors(f"listing {prefix} of {bucket}"):
                page = await in_thread(list, islice(found, LISTED_AT_ONCE))
            if not page:
                return
            yield page

    async def list_uploads(self, bucket: str, prefix: str) -> AsyncIterator[Sequence[ListedUpload]]:
        """Yield nothing: an upload is the file that it will become."""
        del bucket, prefix
        return
        yield ()

    async def store(self, location: Location, content: bytes) -> None:
        """Write a small file under another name first, so that it is never there by halves."""
        bucket, path = self._bucket(location.bucket), self._path(location)
        with storage_errors(f"storing {location.key}", bucket):
            await in_thread(self._store, bucket, path, content)

    async def remove(self, location: Location, multipart_id: str | None) -> None:
        """Delete an object. A name that comes back after a crash is deleted again by the second round."""
        del multipart_id
        path = self._path(location)
        with suppress(ObjectMissing), storage_errors(f"deleting {location.key}", self._bucket(location.bucket)):
            await in_thread(os.unlink, path)

    async def abort(self, location: Location, multipart_id: str) -> None:
        """Do nothing: there are no multipart uploads."""
        del location, multipart_id

    async def presign(self, location: Location, endpoint: Endpoint) -> str | None:
        """Return None: files have no addresses."""
        del location, endpoint
        return None

    def _store(self, bucket: Path, path: Path, content: bytes) -> None:
        self._folders.make(path.parent, bucket)
        with drafted(path, content) as draft:
            draft.replace(path)

    def _bucket(self, bucket: str) -> Path:
        if not is_bucket(bucket):
            raise ValueError(f"not a bucket: {bucket!r}")
        return self._root / bucket

    def _path(self, location: Location) -> Path:
        """Find the file of an object. Keys are our own, so one that leaves the bucket is a bug."""
        if not is_key(location.key):
            raise ValueError(f"not a key: {location.key!r}")
        return self._bucket(location.bucket) / location.key
