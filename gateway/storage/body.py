"""The body of a call that stores something."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

_SLICE = 256 << 10


class PartBody:
    """A body made of memory that is not copied: can be sent again for a retry, and has a length.

    The client takes it for a file because of ``read``, which it never calls, and sends what the iteration gives.
    """

    def __init__(self, views: Sequence[memoryview]) -> None:
        self._views = tuple(views)
        self._length = sum(len(view) for view in self._views)

    def __len__(self) -> int:
        return self._length

    def read(self, size: int = -1) -> bytes:
        """Never called; see the class."""
        raise NotImplementedError(f"a part body is sent, not read (size {size})")

    def seek(self, offset: int, whence: int = 0) -> int:
        """Do nothing: each iteration begins at the beginning."""
        del offset, whence
        return 0

    def tell(self) -> int:
        """Return the beginning, see ``seek``."""
        return 0

    async def __aiter__(self) -> AsyncIterator[memoryview]:
        for view in self._views:
            for start in range(0, len(view), _SLICE):
                yield view[start : start + _SLICE]
