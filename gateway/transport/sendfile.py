"""Files to clients by sendfile: the kernel moves the bytes, and cold files never hold up the event loop."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from gateway.errors import ObjectDamaged
from gateway.transport.residency import is_resident, read_ahead

if TYPE_CHECKING:
    from gateway.transport.outlet import Outlet

_PIECE = 1 << 20
_AHEAD = 4 << 20
"""How much a thread reads of a file that is not in memory, before it is looked at again."""


async def sendfile_range(outlet: Outlet, descriptor: int, start: int, length: int) -> None:
    """Send ``length`` bytes of an open file from ``start`` on; a file that ends early raises ObjectDamaged."""
    done = warm = 0
    while done < length:
        offset, count = start + done, min(_PIECE, length - done)
        if done >= warm:
            warm = done + await _warm(descriptor, offset, count, length - done)
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


async def _warm(descriptor: int, start: int, wanted: int, left: int) -> int:
    """Make sure that the next bytes are in memory, and return for how many that holds."""
    if is_resident(descriptor, start, wanted):
        return wanted
    ahead = min(_AHEAD, left)
    await read_ahead(descriptor, start, ahead)
    return ahead
