"""Readiness: what is looked at how often, and what is said of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.errors import StorageUnavailable
from gateway.services import readiness as module
from gateway.services.readiness import Readiness

if TYPE_CHECKING:
    from collections.abc import Callable


class Part:
    """Something that is ready, or not, or does not answer."""

    def __init__(self) -> None:
        self.looks = 0
        self.error: Exception | None = None
        self.answers = asyncio.Event()
        self.answers.set()

    async def check(self) -> None:
        self.looks += 1
        await self.answers.wait()
        if self.error is not None:
            raise self.error


def no() -> bool:
    return False


@pytest.fixture
def part() -> Part:
    return Part()


@pytest.fixture
def expire(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let what was found count no longer."""
    return lambda: monkeypatch.setattr(module, "_SECONDS_OF_TRUTH", 0.0)


async def test_all_are_told(part: Part) -> None:
    """Each part is named; one that fails makes the whole not ready."""
    good, bad = Readiness({"storage": part.check}, no), Part()
    bad.error = StorageUnavailable("s3.internal.example does not answer")

    assert (await good.verdict()).parts == {"storage": "ready", "service": "ready"}
    assert (await good.verdict()).is_ready

    verdict = await Readiness({"storage": bad.check, "database": part.check}, no).verdict()
    assert not verdict.is_ready
    assert verdict.parts == {"storage": "not ready", "database": "ready", "service": "ready"}


async def test_the_reason_is_logged_when_it_changes(
    part: Part, expire: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    """Once when it goes and once when it comes back, not each time that somebody asks."""
    caplog.set_level("INFO")
    expire()
    readiness = Readiness({"storage": part.check}, no)
    part.error = StorageUnavailable("it is away")
    for _ in range(3):
        assert not (await readiness.verdict()).is_ready
    part.error = None
    for _ in range(3):
        assert (await readiness.verdict()).is_ready

    assert [record.getMessage() for record in caplog.records] == [
        "the storage is not ready: it is away",
        "the storage is ready again",
    ]


async def test_many_who_ask_cause_one_look(part: Part, expire: Callable[[], None]) -> None:
    """At the same time, and for two seconds after it."""
    readiness = Readiness({"storage": part.check}, no)
    part.answers.clear()
    asking = [asyncio.create_task(readiness.verdict()) for _ in range(50)]
    await asyncio.sleep(0)
    part.answers.set()
    assert all(verdict.is_ready for verdict in await asyncio.gather(*asking))
    await readiness.verdict()
    assert part.looks == 1

    expire()
    await readiness.verdict()
    assert part.looks == 2


async def test_who_leaves_takes_nothing_along(part: Part) -> None:
    """The others still get their answer."""
    readiness = Readiness({"storage": part.check}, no)
    part.answers.clear()
    first, second = (asyncio.create_task(readiness.verdict()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    part.answers.set()
    assert (await second).is_ready


async def test_what_hangs_is_not_ready_and_not_asked_again(
    part: Part, expire: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer comes all the same; once the part has answered it is looked at anew."""
    monkeypatch.setattr(module, "_SECONDS_TO_ANSWER", 0.01)
    expire()
    readiness = Readiness({"storage": part.check, "database": Part().check}, no)
    part.answers.clear()
    for _ in range(3):
        assert (await readiness.verdict()).parts["storage"] == "not ready"
    assert part.looks == 1

    part.answers.set()
    assert (await readiness.verdict()).parts == {"storage": "ready", "database": "ready", "service": "ready"}
    assert part.looks == 1
    await readiness.verdict()
    assert part.looks == 2


async def test_draining_is_told_at_once(part: Part) -> None:
    """Whatever else is the case, and without looking."""
    draining = asyncio.Event()
    readiness = Readiness({"storage": part.check}, draining.is_set)
    assert (await readiness.verdict()).is_ready
    draining.set()

    verdict = await readiness.verdict()

    assert (verdict.is_ready, verdict.parts) == (False, {"service": "draining"})
