"""What chunks need of a storage service to become parts, and the rules of part sizes and part numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from gateway.errors import UploadTooLarge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.ports.storage import Location, Part, Stored, UploadRecorder

MOST_PARTS = 10_000
_MIB = 1 << 20
# Numbers are lost when requests are cut off; a size chosen for a known length leaves a tenth for that.
_PLANNED_PARTS = 9_000
_NUMBERS_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Sent:
    """A body that the storage has taken.

    ``repeated`` is true when an earlier attempt failed: its connection may still hold unsent bytes of
    the body, so the memory must not be filled with anything else.
    """

    etag: str
    repeated: bool = False


class MultipartStore(Protocol):
    """The calls of an S3 service which the appender makes; errors are those of ports.storage."""

    async def put(self, location: Location, body: Sequence[memoryview]) -> Sent:
        """Store an object."""
        ...

    async def create_multipart(self, location: Location) -> str:
        """Begin a multipart upload and return its id."""
        ...

    async def upload_part(
        self,
        location: Location,
        multipart_id: str,
        number: int,
        body: Sequence[memoryview],
    ) -> Sent:
        """Store a part; raise MultipartLost when the service does not know the multipart upload."""
        ...

    async def complete_multipart(self, location: Location, multipart_id: str, parts: Sequence[Part]) -> None:
        """Make an object of the listed parts; raise MultipartLost when the multipart upload is not known.

        Returning is not yet success: a service may answer 200 with nothing to show for it.
        """
        ...

    async def abort(self, location: Location, multipart_id: str) -> None:
        """Drop a multipart upload and its parts; one that is not known counts as dropped."""
        ...

    async def stat(self, location: Location) -> int | None:
        """Return the size of an object in bytes, None when there is no such object."""
        ...

    async def read(self, location: Location, into: memoryview) -> None:
        """Fill the memory with the whole object, which has exactly that size."""
        ...


class PartNumbers:
    """Gives out part numbers, each once, and only after the recorder has noted that it may be used."""

    def __init__(self, recorder: UploadRecorder, reserved: int) -> None:
        self._recorder = recorder
        self._reserved = reserved
        self.used = reserved

    async def take(self) -> int:
        """Return the next number, or raise UploadTooLarge when there is none."""
        number = self.used + 1
        if number > MOST_PARTS:
            raise UploadTooLarge(
                f"the upload needs more than {MOST_PARTS} parts; announce its size with Content-Length, "
                "so that larger parts can be chosen, or push smaller layers",
            )
        if number > self._reserved:
            through = min(self.used + _NUMBERS_AT_ONCE, MOST_PARTS)
            await self._recorder.reserve_part_numbers(through)
            self._reserved = through
        self.used = number
        return number


def choose_part_size(stored: Stored, length: int | None, *, usual: int, largest: int) -> int:
    """Return the size of the upload's parts in bytes, or raise UploadTooLarge when the upload cannot fit.

    An upload that has a multipart upload keeps its size: some services demand equal parts.
    """
    if stored.multipart_id is not None:
        size = stored.part_size
        numbers = MOST_PARTS - stored.part_numbers_reserved
        if (stored.offset - stored.solid + (length or 0)) > numbers * size:
            raise UploadTooLarge(
                f"{length} more bytes do not fit: {numbers} parts of {size} bytes are left to this upload; "
                "start it again and announce its whole size with Content-Length",
            )
    else:
        wanted = max(-(-(stored.offset + (length or 0)) // _PLANNED_PARTS), stored.offset)
        size = usual if wanted <= usual else -(-wanted // _MIB) * _MIB
    if size > largest:
        raise UploadTooLarge(
            f"the upload needs parts of {size} bytes, more than the {largest} bytes of memory there are for parts",
        )
    return size
