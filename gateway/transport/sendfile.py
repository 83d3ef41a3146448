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
"""For how much of a file it is seen to that it is in memory, before it is looked at again."""


async def sendfile_range(outlet: Outlet, descriptor: int, start: int, length: int) -> None:
    """Send ``length`` bytes of an open file from ``start`` on; a file that ends early raises ObjectDamaged."""
    done = warm = 0
    while done < length:
        offset = start + done
        if done >= warm:
            ahead = min(_AHEAD, length - done)
            if not is_resident(descriptor, offset, ahead):
                await read_ahead(descriptor, offset, ahead)
            warm = done + ahead
        try:
            # Up to where the file was looked at, and no further: calls end early, wherever the client has no room.
            sent = os.sendfile(outlet.descriptor, descriptor, offset, min(_PIECE, warm - done))
        except BlockingIOError:
            await outlet.writable()
            continue
        if not sent:
            raise ObjectDamaged("a stored file is shorter than it was when it was opened")
        outlet.sent(sent)
        done += sent
        # A client that is as fast as we are would never make us wait.
        await asyncio.sleep(0)
