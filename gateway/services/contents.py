"""A cache of contents by digest: what has this digest never changes, whoever asks and wherever it lies."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from gateway.ports.observing import Lookups

if TYPE_CHECKING:
    from gateway.model.digest import Digest

_OVERHEAD = 400
"""Bytes that an entry takes beside its content: the digest, its texts, its place (324 by tracemalloc, rounded up)."""


class ContentCache:
    """Keeps the contents that were used last, within a number of bytes. It never says whether something exists."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._contents: OrderedDict[Digest, bytes] = OrderedDict()
        self.used = 0
        """Bytes that are taken."""
        self.lookups = Lookups()

    def get(self, digest: Digest) -> bytes | None:
        """Return a content if it is here."""
        content = self._contents.get(digest)
        if content is None:
            self.lookups.misses += 1
            return None
        self.lookups.hits += 1
        self._contents.move_to_end(digest)
        return content

    def add(self, digest: Digest, content: bytes) -> None:
        """Keep a content, letting go of those that were not used for longest."""
        cost = len(content) + _OVERHEAD
        if digest in self._contents or cost > self._capacity:
            return
        self._contents[digest] = content
        self.used += cost
        while self.used > self._capacity:
            _, oldest = self._contents.popitem(last=False)
            self.used -= len(oldest) + _OVERHEAD
