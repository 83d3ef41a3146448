"""How slowly a body may come."""

from __future__ import annotations

SECONDS_WITHOUT_A_BYTE = 60.0
"""A body of which nothing comes for so long is given up."""
_WINDOW_SECONDS = 60.0
_LEAST_RATE = 1024
"""Bytes in a second; a body that comes more slowly over a whole window is given up."""


class Pace:
    """Counts bytes, and the time in which they were waited for: not the time in which nobody wanted them."""

    def __init__(self) -> None:
        self._waited = 0.0
        self._received = 0

    def count(self, seconds: float, received: int) -> None:
        """Count one time of waiting in."""
        self._waited += seconds
        self._received += received

    def complaint(self, waiting: float) -> str | None:
        """Say what is wrong, if anything, when bytes have been waited for since ``waiting`` seconds."""
        if waiting >= SECONDS_WITHOUT_A_BYTE:
            return f"no byte of the body has arrived for {SECONDS_WITHOUT_A_BYTE:.0f} seconds"
        waited = self._waited + waiting
        if waited < _WINDOW_SECONDS:
            return None
        if self._received < waited * _LEAST_RATE:
            return f"the body comes more slowly than {_LEAST_RATE} bytes in a second"
        self._waited = -waiting
        self._received = 0
        return None
