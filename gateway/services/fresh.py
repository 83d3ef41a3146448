"""Settings and rights in memory, never older than a second."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

from gateway.ports.observing import Lookups

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

K = TypeVar("K")
V = TypeVar("V")

_SECONDS = 1.0
_MOST_KEPT = 10_000


class Fresh(Generic[K, V]):
    """Keeps what was loaded for a second: a change anywhere holds everywhere within that time.

    ``forget`` makes it hold at once; what was being loaded then is not kept.
    """

    def __init__(self, load: Callable[[K], Awaitable[V]], lookups: Lookups | None = None) -> None:
        self._load = load
        self.lookups = lookups or Lookups()
        self._kept: dict[K, tuple[float, V]] = {}
        self._loading: dict[K, asyncio.Future[V]] = {}

    async def get(self, key: K) -> V:
        """Return what is known about a key, asking for it when that is too long ago; raises what loading raises."""
        now = asyncio.get_running_loop().time()
        kept = self._kept.get(key)
        if kept is not None and now - kept[0] < _SECONDS:
            self.lookups.hits += 1
            return kept[1]
        self.lookups.misses += 1
        loading = self._loading.get(key)
        if loading is None:
            loading = self._loading[key] = asyncio.ensure_future(self._load_and_keep(key, now, self._kept))
        # One who asks may be cancelled; the others still wait for the same answer.
        return await asyncio.shield(loading)

    def forget(self) -> None:
        """Load everything anew from now on."""
        self._kept = {}
        self._loading = {}

    async def _load_and_keep(self, key: K, asked_at: float, into: dict[K, tuple[float, V]]) -> V:
        loading = self._loading
        try:
            value = await self._load(key)
        finally:
            loading.pop(key, None)
        if len(into) >= _MOST_KEPT:
            into.clear()
        into[key] = asked_at, value
        return value
