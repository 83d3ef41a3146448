"""Files and folders as durable things: descriptors that cannot leak, folders that are made and remembered."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import stat
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.durable import sync_folder
from gateway.errors import BucketMissing, MultipartLost, ObjectMissing, StorageFull, StorageUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator


ROOM_FOR_OTHERS = 64 << 20
"""Bytes that blobs leave free on a disk: a database that lies on the same one ends when it finds no room."""
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_KEY = re.compile(r"[A-Za-z0-9._-]{1,255}(?:/[A-Za-z0-9._-]{1,255})*")
_LONGEST_KEY = 1024
_BUCKET = re.compile(r"[a-z0-9](?:[a-z0-9-]|\.(?!\.)){1,61}[a-z0-9]")


def is_bucket(text: str) -> bool:
    """Tell whether a text can be the name of a bucket."""
    return bool(_BUCKET.fullmatch(text))


def is_key(text: str) -> bool:
    """Tell whether a text names a place inside of a bucket."""
    return len(text) <= _LONGEST_KEY and bool(_KEY.fullmatch(text)) and not {".", ".."} & set(text.split("/"))


@contextmanager
def storage_errors(action: str, bucket: Path | None = None) -> Iterator[None]:
    """Turn the system's errors into ours; a file that is missing together with its bucket is not gone."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        if bucket is not None and not bucket.is_dir():
            raise _not_mounted(bucket) from error
        raise ObjectMissing(f"{action} failed: {error}") from error
    except OSError as error:
        kind = StorageFull if error.errno in _FULL else StorageUnavailable
        raise kind(f"{action} failed: {error}") from error


class LocalFile:
    """An open file. The object exists before the descriptor does, so that a cancellation loses none.

    All methods but ``size`` and ``close`` may block and belong into a thread.
    """

    def __init__(self) -> None:
        self.descriptor = -1

    def open(self, path: Path, flags: int) -> None:
        """Open a regular file, never through a symbolic link."""
        self.descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
        if not stat.S_ISREG(os.fstat(self.descriptor).st_mode):
            raise FileNotFoundError(errno.ENOENT, "not a regular file", str(path))

    def try_lock(self) -> bool:
        """Lock the file for writing and return whether nobody else had it."""
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def cut(self, size: int) -> None:
        """Drop what lies behind ``size`` bytes; raise MultipartLost when there are fewer, or no name any more."""
        status = os.fstat(self.descriptor)
        if status.st_size < size or not status.st_nlink:
            raise MultipartLost(f"the file of the upload has {status.st_size} bytes instead of {size}, or was removed")
        os.ftruncate(self.descriptor, size)

    def write(self, data: memoryview, offset: int) -> None:
        """Write all of the data; raises OSError for a full disk while there is room for others."""
        disk = os.fstatvfs(self.descriptor)
        if disk.f_bavail * disk.f_frsize < len(data) + ROOM_FOR_OTHERS:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        while data:
            count = os.pwrite(self.descriptor, data, offset)
            data, offset = data[count:], offset + count

    def sync(self) -> None:
        """Make all that was written survive a loss of power."""
        os.fdatasync(self.descriptor)

    def size(self) -> int:
        """Return the size in bytes."""
        return os.fstat(self.descriptor).st_size

    def close(self) -> None:
        """Close the file, which gives up the lock."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


class Folders:
    """Makes folders inside of a bucket and remembers which of them are durable."""

    def __init__(self) -> None:
        self._durable: set[Path] = set()

    def make(self, folder: Path, bucket: Path) -> None:
        """Create a folder and those above it, but never the bucket: it may lie on a disk that is not mounted."""
        if folder in self._durable and folder.is_dir():
            return
        chain = [folder, *folder.parents]
        for each in reversed(chain[: chain.index(bucket)]):
            each.mkdir(mode=0o750, exist_ok=True)
            # Another process may have made it and not got to this yet.
            sync_folder(each.parent)
            self._durable.add(each)


@contextmanager
def drafted(path: Path, content: bytes) -> Iterator[Path]:
    """Write a file durably beside the place that it is meant for, so that it is never there by halves."""
    draft = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    try:
        with draft.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield draft
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(path.parent)


def see_mounted(bucket: Path) -> None:
    """Raise BucketMissing for a bucket that is not there, so that it is not taken for an empty one."""
    if not bucket.is_dir():
        raise _not_mounted(bucket)


def _not_mounted(bucket: Path) -> BucketMissing:
    return BucketMissing(f"there is no folder {bucket}: is the disk that it lies on mounted?")


def try_out(bucket: Path) -> None:
    """Do in a bucket once all that uploads do; raise BucketMissing, or OSError when that fails."""
    see_mounted(bucket)
    descriptor, name = tempfile.mkstemp(prefix=".slipway-probe-", dir=bucket)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(descriptor, b"probe")
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
        Path(name).unlink()
    sync_folder(bucket)
