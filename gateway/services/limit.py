"""The limit on the size of blobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import UploadTooLarge

if TYPE_CHECKING:
    from gateway.ports.storage import BodySource


class LimitedSource:
    """A body source that raises UploadTooLarge with the first byte behind ``largest``.

    ``size`` is the number of bytes that the blob has already.
    """

    def __init__(self, source: BodySource, size: int, largest: int) -> None:
        self._source = source
        self._size = size
        self._largest = largest

    def expect(self, count: int) -> None:
        """Raise UploadTooLarge if there is no room for so many bytes more."""
        if self._size + count > self._largest:
            raise UploadTooLarge(f"a blob may have {self._largest} bytes here, and this one has more")

    async def receive_into(self, buffer: memoryview) -> int:
        """See BodySource."""
        return self._counted(await self._source.receive_into(buffer))

    def receive_now(self, buffer: memoryview) -> int:
        """See BodySource."""
        return self._counted(self._source.receive_now(buffer))

    def _counted(self, count: int) -> int:
        self.expect(count)
        self._size += count
        return count
