"""Buckets of the file storage: folders of its root."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from gateway.errors import ConfigurationError, ObjectMissing, StorageUnavailable
from gateway.model.findings import Finding, Severity
from gateway.ports.buckets import MARKER_KEY
from gateway.storage.files import Folders, LocalFile, drafted, is_bucket, see_mounted, storage_errors
from gateway.storage.tasks import in_thread

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.storage.filesystem import FilesystemStorage


class FileBuckets:
    """A BucketKeeper of the folders in one root folder."""

    def __init__(self, root: Path, storage: FilesystemStorage) -> None:
        self._root = root
        self._storage = storage

    @property
    def name(self) -> str:
        """What tells this storage from others."""
        return f"filesystem:{self._root.resolve()}"

    @property
    def can_redirect(self) -> bool:
        """Return False: no client ever gets to a folder."""
        return False

    async def check_reachable(self) -> None:
        """See that the folder may be written to."""
        await in_thread(self._check)

    async def list_buckets(self) -> list[str]:
        """Return the folders that could be buckets."""
        return await in_thread(self._list)

    async def inspect(self, bucket: str, *, make: bool = True) -> list[Finding]:
        """Try the folder out."""
        try:
            await self._storage.check_bucket(bucket, make=make)
        except ConfigurationError as error:
            return [Finding(Severity.ERROR, "folder", str(error), "choose another one, or mend it as it says")]
        return []

    async def is_restricted(self, bucket: str) -> bool:
        """Return False: folders have no policies."""
        del bucket
        return False

    async def read_marker(self, bucket: str) -> bytes | None:
        """Return the content of the marker."""
        with suppress(ObjectMissing), storage_errors(f"reading {MARKER_KEY}"):
            return await in_thread(_read, self._root / bucket)
        return None

    async def write_marker(self, bucket: str, content: bytes, *, instead: bytes | None) -> bool:
        """Write the marker, whole or not at all."""
        with storage_errors(f"writing {MARKER_KEY}"):
            return await in_thread(_write, self._root / bucket, content, instead)

    def _check(self) -> None:
        # The first bucket makes the folder.
        folder = self._root if self._root.exists() else self._root.parent
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            raise StorageUnavailable(f"{folder} is not a folder that this user may write to")

    def _list(self) -> list[str]:
        with suppress(ObjectMissing), storage_errors("listing buckets"):
            return [each.name for each in self._root.iterdir() if each.is_dir() and is_bucket(each.name)]
        return []


def _read(bucket: Path) -> bytes:
    see_mounted(bucket)
    return (bucket / MARKER_KEY).read_bytes()


def _write(bucket: Path, content: bytes, instead: bytes | None) -> bool:
    marker = bucket / MARKER_KEY
    Folders().make(marker.parent, bucket)
    with drafted(marker, content) as draft:
        if instead is None:
            # A link is made only where there is no such name yet.
            with suppress(FileExistsError):
                marker.hardlink_to(draft)
        else:
            with suppress(FileNotFoundError):
                _replace(marker, draft, instead)
    return marker.exists() and marker.read_bytes() == content


def _replace(marker: Path, draft: Path, instead: bytes) -> None:
    old = LocalFile()
    try:
        old.open(marker, os.O_RDWR)
        fcntl.flock(old.descriptor, fcntl.LOCK_EX)
        # Whoever had the lock before us may have left us a file that has no name any more.
        if marker.read_bytes() == instead and os.path.samestat(os.fstat(old.descriptor), marker.stat()):
            draft.replace(marker)
    finally:
        old.close()
