"""Which bytes of a file are in memory, and bringing there those that are not, without holding up the event loop."""

from __future__ import annotations

import asyncio
import errno
import os
from functools import cache
from pathlib import Path

_STEP = 128 << 10
"""Distance of the bytes that stand for their neighbours."""
_PIECE = 1 << 20
_IN_MEMORY = frozenset({"tmpfs", "ramfs", "devtmpfs", "hugetlbfs"})


def is_resident(descriptor: int, start: int, length: int) -> bool:
    """Tell whether bytes of a file seem to be in memory; False also where the file system cannot tell."""
    one = bytearray(1)
    try:
        for offset in (*range(start, start + length, _STEP), start + length - 1):
            os.preadv(descriptor, [one], offset, os.RWF_NOWAIT)
    except OSError as error:
        return error.errno == errno.EOPNOTSUPP and _is_in_memory(os.fstat(descriptor).st_dev)
    return True


async def read_ahead(descriptor: int, start: int, length: int) -> None:
    """Bring bytes of a file into memory, in a thread."""
    await asyncio.get_running_loop().run_in_executor(None, _read, descriptor, start, length)


def _read(descriptor: int, start: int, length: int) -> None:
    buffer = memoryview(bytearray(min(length, _PIECE)))
    for offset in range(start, start + length, _PIECE):
        os.preadv(descriptor, [buffer[: start + length - offset]], offset)


@cache
def _is_in_memory(device: int) -> bool:
    """Tell whether a file system keeps its files in memory; those that do cannot answer reads that must not wait."""
    name = f"{os.major(device)}:{os.minor(device)}"
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    # See proc(5): the third field is the device, and the type follows a field that is a single hyphen.
    mounts = [line for line in lines if line.split(" ", 3)[2] == name]
    return any(mount.partition(" - ")[2].split(" ", 1)[0] in _IN_MEMORY for mount in mounts)
