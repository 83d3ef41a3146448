"""An S3 service in all weathers: calm for some calls, then bad, then so that hardly any call comes through."""

from __future__ import annotations

import asyncio
import random
import threading
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from support.faults import Fault, faulty_s3

if TYPE_CHECKING:
    from collections.abc import Iterator

_ANY = (Fault.SLOW_DOWN, Fault.INTERNAL_ERROR, Fault.REFUSE, Fault.LOSE_ANSWER, Fault.DELAY)
_FAULTS = {
    "GetObject": (*_ANY, Fault.CUT, Fault.CUT, Fault.STALL, Fault.SHORTEN, Fault.HANG),
    "PutObject": (*_ANY, Fault.NOTHING_WITH_200, Fault.HANG),
    "UploadPart": (*_ANY, Fault.NOTHING_WITH_200, Fault.HANG),
    "CreateMultipartUpload": (*_ANY, Fault.LOSE_ANSWER, Fault.HANG),
    "CompleteMultipartUpload": (
        *_ANY,
        Fault.LOSE_ANSWER,
        Fault.ERROR_WITH_200,
        Fault.NOTHING_WITH_200,
        Fault.NOTHING_WITH_200_DONE,
        Fault.HANG,
    ),
}
_CHANCES = (0.0, 0.1, 0.3, 0.9)
_CALLS_PER_WEATHER = 40


@dataclass
class Weather:
    """Chooses what happens to each call."""

    seed: int
    url: str = ""
    is_calm: bool = True
    faults: int = 0
    """How many calls have met one."""
    _left: int = 0
    _chance: float = 0.0
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        """Begin as the seed says."""
        self._random = random.Random(self.seed)

    def choose(self, operation: str) -> Fault | None:
        """Say what happens to the next call."""
        if self.is_calm:
            return None
        if not self._left:
            self._left, self._chance = self._random.randrange(1, _CALLS_PER_WEATHER), self._random.choice(_CHANCES)
        self._left -= 1
        if self._random.random() >= self._chance:
            return None
        self.faults += 1
        return self._random.choice(_FAULTS.get(operation, _ANY))


@contextmanager
def weather(upstream: str, seed: int) -> Iterator[Weather]:
    """Run the proxy in a thread of its own, as long as the context lasts."""
    chosen = Weather(seed)
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def run() -> None:
        stop = asyncio.Event()
        async with faulty_s3(upstream) as proxy:
            proxy.choose, chosen.url = chosen.choose, proxy.url
            started.set_result((asyncio.get_running_loop(), stop))
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(run(),), name="weather")
    thread.start()
    loop, stop = started.result(timeout=60)
    try:
        yield chosen
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
