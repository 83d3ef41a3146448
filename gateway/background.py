"""Work that goes on beside the requests."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from gateway.errors import BackendError, SlipwayError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
    from contextlib import AbstractAsyncContextManager

_log = logging.getLogger(__name__)


@asynccontextmanager
async def in_background(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Do work that never ends by itself for as long as the context lasts."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        # Awaited by itself, it would not tell which of the two was cancelled.
        await asyncio.gather(task, return_exceptions=True)
        if not task.cancelled():
            task.result()


def repeated(
    work: Callable[[], Awaitable[object]], seconds: float, failure: str, *, at_once: bool = False
) -> AbstractAsyncContextManager[None]:
    """Do work with so many seconds between, and before it, for as long as the context lasts; see ``attempt``."""

    async def repeat() -> None:
        if at_once:
            await attempt(work, failure)
        while goes_on():
            await asyncio.sleep(seconds)
            await attempt(work, failure)

    return in_background(repeat())


def goes_on() -> bool:
    """Whether a loop that survives failures may go on.

    What fails while it is cancelled may raise its failure instead, as a transaction does that cannot be rolled back.
    """
    task = asyncio.current_task()
    return task is None or not task.cancelling()


async def attempt(work: Callable[[], Awaitable[object]], failure: str) -> None:
    """Do work that may fail: then ``failure`` is logged with the reason, and the next attempt may go better."""
    try:
        await work()
    except BackendError as error:
        _log.warning("%s: %s", failure, error)
    except SlipwayError as error:
        _log.error("%s: %s", failure, error)
    except Exception:  # noqa: BLE001  (there must be a next attempt)
        _log.exception(failure)
