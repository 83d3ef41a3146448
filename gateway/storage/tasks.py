"""Waiting that a cancellation cannot tear apart: for threads, and for tasks which hold memory."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable
    from concurrent.futures import Executor

P = ParamSpec("P")
T = TypeVar("T")

_RECEIVING = ThreadPoolExecutor(os.cpu_count(), "receiving")
"""More threads than processors would not receive faster, and short jobs, as opening a file is, would wait for them."""


async def settled(futures: Iterable[asyncio.Future[Any]]) -> None:
    """Wait until all futures are done, whatever they return; a cancellation is raised only after that."""
    cancelled: asyncio.CancelledError | None = None
    waited = tuple(futures)
    while unfinished := [future for future in waited if not future.done()]:
        try:
            await asyncio.wait(unfinished)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function in a thread; it never outlives the call, because it uses our descriptors and memory."""
    return await _in_thread_of(None, partial(function, *args, **kwargs))


async def receiving(function: Callable[[], T]) -> T:
    """Run a function that receives a body in one of few threads which do nothing else; see ``in_thread``."""
    return await _in_thread_of(_RECEIVING, function)


async def _in_thread_of(threads: Executor | None, function: Callable[[], T]) -> T:
    job = asyncio.get_running_loop().run_in_executor(threads, function)
    try:
        await settled((job,))
    except asyncio.CancelledError:
        job.exception()  # seen, so that the loop does not report it; the cancellation is what counts
        raise
    return job.result()


async def together(*work: Coroutine[Any, Any, T]) -> list[T]:
    """Run coroutines at once and return their results; after the first error none of them runs any more."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        await cancelled(tasks)


async def cancelled(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait until they have ended."""
    stopped = tuple(tasks)
    for task in stopped:
        task.cancel()
    await settled(stopped)
    for task in stopped:
        if not task.cancelled():
            task.exception()
