"""Files to clients by sendfile: the kernel moves the bytes, and cold files never hold up the event loop."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from gateway.errors import ObjectDamaged

if TYPE_CHECKING:
    from gateway.transport.outlet import Outlet

_PIECE = 1 << 20
_STEP = 128 << 10
"""Distance of the bytes that stand for their neighbours when a piece is looked for in memory."""
_AHEAD = 4 << 20
"""How much a thread reads of a file that is not in memory, before it is looked at again."""


async def sendfile_range(outlet: Outlet, descriptor: int, start: int, length: int) -> None:
    """Send ``length`` bytes of an open file from ``start`` on; a file that ends early raises ObjectDamaged."""
    done = 0
    while done < length:
        offset, count = start + done, min(_PIECE, length - done)
        if not is_resident(descriptor, offset, count):
            await read_ahead(descriptor, offset, length - done)
        try:
            sent = os.sendfile(outlet.descriptor, descriptor, offset, count)
        except BlockingIOError:
            await outlet.writable()
            continue
        if not sent:
            raise ObjectDamaged("a stored file is shorter than it was when it was opened")
        outlet.sent(sent)
        done += sent
        # A client that is as fast as we are would never make us wait.
        await asyncio.sleep(0)


def is_resident(descriptor: int, start: int, length: int) -> bool:
    """Tell whether bytes of a file seem to be in memory; False also where the file system cannot tell."""
    one = bytearray(1)
    try:
        for offset in (*range(start, start + length, _STEP), start + length - 1):
            os.preadv(descriptor, [one], offset, os.RWF_NOWAIT)
    except OSError:
        return False
    return True


async def read_ahead(descriptor: int, start: int, length: int) -> None:
    """Bring the next bytes of a file into memory, in a thread."""
    await asyncio.get_running_loop().run_in_executor(None, _read, descriptor, start, min(length, _AHEAD))


def _read(descriptor: int, start: int, length: int) -> None:
    buffer = memoryview(bytearray(min(length, _PIECE)))
    for offset in range(start, start + length, _PIECE):
        os.preadv(descriptor, [buffer[: start + length - offset]], offset)
