"""Numbers that all workers of a service write side by side: memory that they share, so that none is lost with a worker.

Each worker writes into the region of its slot, which no living worker shares. So nobody waits for anybody, and a worker
that takes a dead one's slot goes on where that one ended. A region says whose it is, so that what was true of a worker
only while it lived can be left out. Numbers are doubles, as Prometheus has them: whole ones are exact up to 2**53.
"""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_WORD = 8
_SLOTS = 256


class Board:
    """``size`` numbers for each worker, all 0 at first. Make it before the first fork."""

    def __init__(self, size: int) -> None:
        self._size = size
        # Pages that no slot writes to, or reads, are never there.
        self._words = memoryview(mmap.mmap(-1, _SLOTS * (1 + size) * _WORD)).cast("d")
        # Process id of who writes into each slot, negative when it has ended by itself, 0 when nobody ever did.
        self._owners = self._words[:_SLOTS]

    def claim(self, slot: int) -> memoryview[float]:
        """Return the region of a slot, which is this process's from now on."""
        self._owners[slot % _SLOTS] = os.getpid()
        return self._region(slot % _SLOTS)

    def leave(self, slot: int) -> None:
        """Tell that nobody writes into a slot any more."""
        self._owners[slot % _SLOTS] = -os.getpid()

    def regions(self) -> Iterator[tuple[memoryview[float], bool]]:
        """Return each region that was ever claimed, and whether its process lives."""
        for slot, owner in enumerate(self._owners.tolist()):
            if owner:
                yield self._region(slot), _lives(int(owner))

    def _region(self, slot: int) -> memoryview[float]:
        start = _SLOTS + slot * self._size
        return self._words[start : start + self._size]


def _lives(process: int) -> bool:
    if process < 0:
        return False
    try:
        os.kill(process, 0)
    except OSError:
        # It is gone, or it is somebody else's by now.
        return False
    return True
