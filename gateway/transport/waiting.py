"""Waiting for a socket that no transport of the event loop owns."""

from __future__ import annotations

import asyncio


async def until_ready(descriptor: int, *, writing: bool, seconds: float) -> bool:
    """Return True when a descriptor can be read from (or written to), False after so many seconds.

    The descriptor is watched only while this waits, so that it may be closed as soon as this has returned or raised.
    """
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[bool] = loop.create_future()
    if writing:
        loop.add_writer(descriptor, _settle, ready, True)
    else:
        loop.add_reader(descriptor, _settle, ready, True)
    timer = loop.call_later(seconds, _settle, ready, False)
    try:
        return await ready
    finally:
        timer.cancel()
        if writing:
            loop.remove_writer(descriptor)
        else:
            loop.remove_reader(descriptor)


def _settle(ready: asyncio.Future[bool], outcome: bool) -> None:  # noqa: FBT001
    if not ready.done():
        ready.set_result(outcome)
