"""Numbers that all workers of a service add up: memory that they share, so that none is lost with a worker.

Each worker writes into the region of its slot, which no living worker shares; a total is the sum of all regions. So
nobody waits for anybody, and a worker that takes a dead one's slot goes on where that one ended.
"""

from __future__ import annotations

import mmap

_WORD = 8
_SLOTS = 256


class Board:
    """Counters by number, from 0 to ``counters``. Make it before the first fork."""

    def __init__(self, counters: int) -> None:
        self._counters = counters
        # Pages that no slot writes to are never there.
        self._words = memoryview(mmap.mmap(-1, _SLOTS * counters * _WORD)).cast("Q")

    def region(self, slot: int) -> memoryview:
        """Return the words of a worker."""
        start = slot % _SLOTS * self._counters
        return self._words[start : start + self._counters]

    def totals(self) -> list[int]:
        """Add all regions up."""
        size = self._counters
        used = [self._words[start : start + size].tolist() for start in range(0, _SLOTS * size, size)]
        return [sum(column) for column in zip(*used, strict=True)]
