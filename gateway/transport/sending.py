"""Content on its way to the client."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from gateway.errors import ObjectDamaged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp.web import StreamResponse

_SLICE = 256 * 1024
_SECONDS_WITHOUT_A_BYTE = 60.0


async def send_file(response: StreamResponse, descriptor: int, start: int, length: int) -> None:
    """Send ``length`` bytes of an open file from ``start`` on; a file that ends early raises ObjectDamaged."""
    loop = asyncio.get_running_loop()
    done = 0
    while done < length:
        count = min(_SLICE, length - done)
        # A thread, since a file that is not in memory would block everybody else.
        data = await loop.run_in_executor(None, os.pread, descriptor, count, start + done)
        if not data:
            raise ObjectDamaged("a stored file is shorter than it was when it was opened")
        await _write(response, data)
        done += len(data)


async def send_stream(response: StreamResponse, chunks: AsyncIterator[bytes]) -> None:
    """Send bytes as they arrive."""
    async for chunk in chunks:
        await _write(response, chunk)


async def _write(response: StreamResponse, data: bytes) -> None:
    """Write, and give up on a client that has stopped reading."""
    async with asyncio.timeout(_SECONDS_WITHOUT_A_BYTE):
        await response.write(data)
