"""Work in the background goes on whatever fails."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from gateway.background import in_background, repeated
from gateway.errors import BackendError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Coroutine


async def test_repeated_work_outlives_its_failures(caplog: pytest.LogCaptureFixture) -> None:
    """What is expected is told in a line, what is not with its traceback, and then it is tried again."""
    failures = [BackendError("no database"), ConfigurationError("no key"), RuntimeError("a mistake"), None]
    done = asyncio.Event()

    async def work() -> None:
        failure = failures.pop(0)
        if failure is not None:
            raise failure
        done.set()

    with caplog.at_level(logging.WARNING):
        async with repeated(work, 0.0, "nothing was written"), asyncio.timeout(10):
            await done.wait()

    told = [(record.levelname, record.getMessage(), bool(record.exc_info)) for record in caplog.records]
    assert told[:3] == [
        ("WARNING", "nothing was written: no database", False),
        ("ERROR", "nothing was written: no key", False),
        ("ERROR", "nothing was written", True),
    ]


async def test_work_is_done_at_once_only_if_that_is_wanted() -> None:
    """Otherwise its time passes first."""
    done = asyncio.Event()
    never = asyncio.Event()

    async def work() -> None:
        done.set()

    async def not_yet() -> None:
        never.set()

    async with (
        repeated(not_yet, 3600, "failed"),
        repeated(work, 3600, "failed", at_once=True),
        asyncio.timeout(10),
    ):
        await done.wait()

    assert not never.is_set()


async def test_who_is_cancelled_while_work_ends_is_cancelled() -> None:
    """Two are cancelled then, and only the work's own cancellation is of no interest."""
    begun, ending, never = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await never.wait()
        finally:
            ending.set()
            await never.wait()

    task = asyncio.create_task(while_there_is(work(), begun))
    await ending.wait()
    task.cancel()
    await asyncio.wait((task,))

    assert task.cancelled()


async def test_what_has_ended_the_work_is_told() -> None:
    """Work that never ends by itself has failed when it has."""
    begun = asyncio.Event()

    async def work() -> None:
        begun.set()
        raise RuntimeError("a mistake")

    with pytest.raises(RuntimeError, match="a mistake"):
        await while_there_is(work(), begun)


async def while_there_is(work: Coroutine[None, None, None], begun: asyncio.Event) -> None:
    """Do work in the background until it has begun."""
    async with in_background(work):
        await begun.wait()


@pytest.mark.parametrize("failure", [BackendError("the transaction cannot be rolled back"), RuntimeError("a mistake")])
async def test_work_ends_although_its_cancellation_is_lost(failure: Exception) -> None:
    """What fails while it is cancelled may raise its failure instead: that is the end all the same."""
    begun, never = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await never.wait()
        except asyncio.CancelledError:
            raise failure from None

    async with repeated(work, 0.0, "failed"):
        await begun.wait()
