"""A whole registry in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gateway.app.service import Running, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.config import Settings


@contextmanager
def in_the_background(settings: Settings) -> Iterator[Running]:
    """Run a registry in a thread with an event loop of its own, so that tests may have theirs."""
    started: Future[tuple[Running, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        stop = asyncio.Event()
        async with running(settings) as server:
            started.set_result((server, asyncio.get_running_loop(), stop))
            await stop.wait()

    ended: Future[None] = Future()

    def run() -> None:
        try:
            asyncio.run(serve())
            ended.set_result(None)
        except BaseException as error:  # noqa: BLE001 - raised again where the registry is waited for
            for future in (started, ended):
                if not future.done():
                    future.set_exception(error)

    thread = threading.Thread(target=run, name="registry")
    thread.start()
    server, loop, stop = started.result()
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(stop.set)
        ended.result()
        thread.join()
