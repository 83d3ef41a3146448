"""What a service answered to a GET, held against what it was asked for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gateway.errors import (
    BackendError,
    MultipartLost,
    ObjectDamaged,
    ObjectMissing,
    StorageFull,
    StorageUnavailable,
)
from gateway.model.ranges import ByteRange

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from gateway.ports.storage import Location

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", re.ASCII)
NO_OBJECT = frozenset({"NoSuchKey", "NotFound", "404"})
_SHORT_OBJECT = frozenset({"InvalidRange", "416", "RequestedRangeNotSatisfiable", "InvalidPart", "InvalidPartOrder"})
_FULL = frozenset({"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "507"})


def domain_error(code: str, message: str) -> BackendError:
    """Turn an error code of S3, or a status where there is none, into an error of ours."""
    if code in NO_OBJECT:
        return ObjectMissing(message)
    if code == "NoSuchUpload":
        return MultipartLost(message)
    if code in _SHORT_OBJECT:
        return ObjectDamaged(message)
    return StorageFull(message) if code in _FULL else StorageUnavailable(message)


def check_range(content_range: str, length: int | None, location: Location, span: ByteRange) -> None:
    """Make sure that the answer is about exactly the bytes that were asked for."""
    match = _CONTENT_RANGE.fullmatch(content_range)
    if match is None:
        raise StorageUnavailable(f"the storage ignored the range of a request for {location.key}")
    found = ByteRange(int(match[1]), int(match[2]) + 1)
    if found.start == span.start and found.stop < span.stop:
        raise ObjectDamaged(f"{location.key} ends at byte {found.stop} instead of {span.stop} or later")
    if found != span or length != span.length:
        raise StorageUnavailable(f"the storage sends {match[0]} ({length} bytes) instead of what was asked for")


async def exactly(chunks: AsyncIterator[bytes], length: int, location: Location) -> AsyncGenerator[bytes, None]:
    """Pass on exactly so many bytes, or raise: an answer that ends early never looks like a complete one."""
    left = length
    try:
        async for chunk in chunks:
            left -= len(chunk)
            if left < 0:
                break
            yield chunk
    except Exception as error:
        # These are aiohttp's errors, which this room does not import.
        raise StorageUnavailable(f"{location.key} was cut off {left} bytes before its end: {error}") from error
    if left:
        raise StorageUnavailable(f"{location.key} ended {left} bytes before its end")


async def nothing() -> AsyncIterator[bytes]:
    """Yield no bytes."""
    return
    yield b""
