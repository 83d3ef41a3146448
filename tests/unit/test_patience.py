"""Uploads that give way: only slow ones, and only when others need their memory."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import MemoryShort
from gateway.services import patience as patience_module
from gateway.services.patience import Patience


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what takes seconds take moments."""
    monkeypatch.setattr(patience_module, "_SECONDS_BETWEEN_LOOKS", 0.002)
    monkeypatch.setattr(patience_module, "_SECONDS_OF_A_MEASURE", 0.01)


async def received(count: int, seconds: float = 0.0) -> int:
    """Receive so many bytes, after some time."""
    await asyncio.sleep(seconds)
    return count


async def test_a_client_that_sends_nothing_gives_way_once_others_wait() -> None:
    """Before that it may take as long as it likes."""
    looks = 0
    never = asyncio.Event()

    def is_wanted() -> bool:
        nonlocal looks
        looks += 1
        return looks > 3

    async def nothing() -> int:
        await never.wait()
        return 0

    async with asyncio.timeout(10):
        with pytest.raises(MemoryShort, match="too slowly"):
            await Patience(is_wanted).wait(nothing())
    assert looks == 4


async def test_a_client_that_sends_next_to_nothing_gives_way() -> None:
    """Single bytes are no better than none."""
    patience = Patience(lambda: True)

    async def trickle() -> None:
        while True:
            await patience.wait(received(1, 0.001))

    async with asyncio.timeout(10):
        with pytest.raises(MemoryShort):
            await trickle()


async def test_a_client_that_sends_enough_goes_on() -> None:
    """However many wait: in each measure of time enough has come."""
    loop = asyncio.get_running_loop()
    end = loop.time() + 0.1
    patience = Patience(lambda: True)
    while loop.time() < end:
        assert await patience.wait(received(1 << 20, 0.001)) == 1 << 20


async def test_what_has_come_long_ago_does_not_count() -> None:
    """A client that was fast, and stalls, gives way as well."""
    patience = Patience(lambda: True)
    await patience.wait(received(1 << 30))
    async with asyncio.timeout(10):
        with pytest.raises(MemoryShort):
            await patience.wait(received(0, 3600))


@pytest.mark.parametrize("failure", [ConnectionResetError, TimeoutError])
async def test_a_failure_is_passed_on(failure: type[OSError]) -> None:
    """The source's own errors are not mistaken for a lack of memory."""

    async def broken() -> int:
        raise failure

    with pytest.raises(failure):
        await Patience(lambda: True).wait(broken())
