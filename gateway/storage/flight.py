"""Parts on their way into the storage, several at once, and the prefix of them that has arrived."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.storage.tasks import cancelled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.ports.storage import Part, Stored, UploadRecorder


@dataclass(slots=True)
class _Flying:
    """One part in flight; ``part`` is set once the storage has it."""

    hash_state: bytes | None
    part: Part | None = None


class PartsInFlight:
    """Sends parts in the background and records how far the upload has come.

    The upload has come as far as parts are stored without a gap from its beginning, so a part that
    overtakes another waits to be recorded. The first error is kept for ``check`` and handed to ``on_error``.
    """

    def __init__(
        self,
        recorder: UploadRecorder,
        stored: Stored,
        *,
        limit: int,
        on_error: Callable[[Exception], None],
    ) -> None:
        self.parts = list(stored.parts)
        self.solid = stored.solid
        self.error: Exception | None = None
        self._recorder = recorder
        self._limit = limit
        self._on_error = on_error
        self._queue: deque[_Flying] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._recording = asyncio.Lock()

    def check(self) -> None:
        """Raise the first error, if there was one."""
        if self.error is not None:
            raise self.error

    async def room(self) -> None:
        """Wait until one more part may be sent, or raise the first error."""
        self.check()
        while len(self._tasks) >= self._limit:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            self.check()

    def launch(self, send: Callable[[], Awaitable[Part]], hash_state: bytes | None) -> None:
        """Send the next part; parts are launched in the order of the blob."""
        flying = _Flying(hash_state)
        self._queue.append(flying)
        task = asyncio.create_task(self._fly(flying, send))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def land(self) -> None:
        """Wait until all parts are stored and recorded, or raise the first error."""
        self.check()
        while self._tasks:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            self.check()

    async def rest(self) -> None:
        """Wait until nothing is in flight any more, whatever became of it."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def cancel(self) -> None:
        """Stop what is in flight and wait until it has stopped."""
        await cancelled(self._tasks)

    async def _fly(self, flying: _Flying, send: Callable[[], Awaitable[Part]]) -> None:
        try:
            flying.part = await send()
            async with self._recording:
                await self._record()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised in the task that fills the buffers
            if self.error is None:
                self.error = error
                self._on_error(error)

    async def _record(self) -> None:
        """Record the stored parts at the head of the queue, if there are any."""
        arrived: list[Part] = []
        hash_state = None
        for flying in self._queue:
            if flying.part is None:
                break
            arrived.append(flying.part)
            hash_state = flying.hash_state
        if not arrived:
            return
        solid = self.solid + sum(part.size for part in arrived)
        await self._recorder.progressed(solid, tuple(arrived), hash_state)
        for _ in arrived:
            self._queue.popleft()
        self.parts += arrived
        self.solid = solid
