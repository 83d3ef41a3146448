"""Blobs in a local directory: ``<root>/<bucket>/<key>``, written in place under a lock, synced before they count."""

from __future__ import annotations

import fcntl
import os
import re
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.errors import ConfigurationError, ObjectDamaged, ObjectMissing
from gateway.ports.storage import FileRange
from gateway.storage.buffers import BufferPool
from gateway.storage.files import Folders, storage_errors
from gateway.storage.tasks import in_thread
from gateway.storage.writing import BUFFER_SIZE, FileAppender

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.model.ranges import ByteRange
    from gateway.ports.storage import Appender, Location, Stored, UploadRecorder

_BUCKET = re.compile(r"[a-z0-9](?:[a-z0-9-]|\.(?!\.)){1,61}[a-z0-9]")
_KEY = re.compile(r"(?!.*(?:^|/)\.{1,2}(?:/|$))[A-Za-z0-9._-]{1,255}(?:/[A-Za-z0-9._-]{1,255})*")
_LONGEST_KEY = 1024
_PROBE = ".slipway-probe"


class FilesystemStorage:
    """A BlobStorage below one root directory, for one machine or for several that share it with working locks."""

    def __init__(self, root: Path, *, buffer_memory: int = 256 << 20) -> None:
        self._root = root
        self._folders = Folders()
        self._buffers = BufferPool(max(buffer_memory, 2 * BUFFER_SIZE))

    async def check_bucket(self, bucket: str) -> None:
        """Create the bucket's directory when it is missing, and try out everything that uploads will need."""
        if not _BUCKET.fullmatch(bucket):
            raise ConfigurationError(
                f"{bucket!r} cannot be a bucket: 3 to 63 lower-case letters, digits, hyphens and single dots",
            )
        try:
            await in_thread(_try_out, self._root / bucket)
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
        appender = FileAppender(self._bucket(bucket), stored, recorder, self._folders, self._buffers.share())
        try:
            await appender.open()
            yield appender
        finally:
            await appender.close()

    @asynccontextmanager
    async def open(self, location: Location, span: ByteRange) -> AsyncIterator[FileRange]:
        """Open bytes of an object."""
        path = self._path(location)
        descriptor = -1
        try:
            with storage_errors(f"reading {location.key}"):
                descriptor = await in_thread(_open_to_read, path)
            size = os.fstat(descriptor).st_size
            if size < span.stop:
                raise ObjectDamaged(f"{location.key} has {size} bytes instead of at least {span.stop}")
            yield FileRange(descriptor, span.start, span.length)
        except FileNotFoundError:
            raise ObjectMissing(f"there is no object {location.key}") from None
        finally:
            if descriptor >= 0:
                os.close(descriptor)
