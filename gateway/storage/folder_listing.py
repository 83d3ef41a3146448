"""Listing a folder tree as a bucket: every file under its key, in the order of keys, in bounded memory."""

from __future__ import annotations

import heapq
import os
import stat
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gateway.ports.storage import ListedObject
from gateway.storage.files import see_mounted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WINDOW = 100_000
"""Names of a folder that are held at once, its next ones in order; a larger folder is read once for each so many."""


def listed(bucket: Path, prefix: str, after: str) -> Iterator[ListedObject]:
    """Yield the files below ``prefix`` whose keys come behind ``after``; raises BucketMissing."""
    see_mounted(bucket)
    yield from _walk(os.fsencode(bucket / prefix), os.fsencode(prefix), os.fsencode(after))


def _walk(folder: bytes, prefix: bytes, after: bytes) -> Iterator[ListedObject]:
    """Yield files in order; names are bytes, since that is what they are, and may be no text."""
    last = b""
    while window := heapq.nsmallest(WINDOW, (key for key in _keys(folder, prefix, after) if key > last)):
        for key in window:
            place = folder + b"/" + key.removeprefix(prefix)
            if key.endswith(b"/"):
                yield from _walk(place[:-1], key, after)
            elif (found := _look(place, key)) is not None:
                yield found
        last = window[-1]
        if len(window) < WINDOW:
            return


def _keys(folder: bytes, prefix: bytes, after: bytes) -> Iterator[bytes]:
    """Yield keys of files, and those of folders with a slash, which gives both their place in the order of keys."""
    try:
        entries = os.scandir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return
    with entries:
        for entry in entries:
            is_folder = entry.is_dir(follow_symlinks=False)
            key = prefix + entry.name + (b"/" if is_folder else b"")
            if key > after or (is_folder and after.startswith(key)):
                yield key


def _look(path: bytes, key: bytes) -> ListedObject | None:
    """Return what a listing says of a file; None when it is gone by now, or is something else."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return ListedObject(key.decode(errors="replace"), status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))
