"""Who may connect: load balancers that say for whom, and so many connections of one address."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def _nobody(_address: str) -> bool:
    return False


@dataclass(slots=True)
class Admission:
    """What a server asks of connections. Counts are this process's own."""

    speaks_for_others: Callable[[str], bool] = _nobody
    """Whether connections from an address have to begin with a PROXY header."""
    is_unlimited: Callable[[str], bool] = _nobody
    """Whether an address may have as many connections as it likes, for instance a proxy for many clients."""
    most_of_one: int | None = None
    """How many connections one address may have; None is no limit."""
    _open: Counter[str] = field(default_factory=Counter)

    def admit(self, address: str) -> bool:
        """Count a connection; False when the address has as many as it may. ``leave`` is called either way."""
        self._open[address] += 1
        if self.most_of_one is None or self._open[address] <= self.most_of_one:
            return True
        return self.is_unlimited(address)

    def leave(self, address: str) -> None:
        """Count a connection that has ended."""
        self._open[address] -= 1
        if not self._open[address]:
            del self._open[address]
