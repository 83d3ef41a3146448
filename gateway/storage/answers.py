"""What a service answered to a GET, held against what it was asked for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gateway.errors import (
    BackendError,
    BucketMissing,
    ConfigurationError,
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
NO_SUCH_CALL = frozenset({"NotImplemented", "MethodNotAllowed", "NotSupported", "405", "501"})
_SHORT_OBJECT = frozenset({"InvalidRange", "416", "RequestedRangeNotSatisfiable", "InvalidPart", "InvalidPartOrder"})
_DENIED = frozenset({"AccessDenied", "403", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch"})
_FULL = frozenset({"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "507"})


class Refused(Exception):
    """A service has answered a call about a bucket with an error code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}" if message else code)
        self.code = code


def domain_error(code: str, message: str) -> BackendError:
    """Turn an error code of S3, or a status where there is none, into an error of ours."""
    if code in NO_OBJECT:
        return ObjectMissing(message)
    if code == "NoSuchBucket":
        return BucketMissing(message)
    if code == "NoSuchUpload":
        return MultipartLost(message)
    if code in _SHORT_OBJECT:
        return ObjectDamaged(message)
    return StorageFull(message) if code in _FULL else StorageUnavailable(message)


def bucket_error(bucket: str, where: str, error: Refused) -> ConfigurationError | StorageUnavailable:
    """Say why a bucket cannot be used, and what to do about it."""
    code = error.code
    if code in NO_OBJECT or code == "NoSuchBucket":
        return ConfigurationError(f"there is no bucket {bucket} at {where}; create it, or correct the name")
    if code in _DENIED:
        return ConfigurationError(
            f"{where} denies access to the bucket {bucket}; check the access key and its policy",
        )
    if code in {"301", "400", "PermanentRedirect"}:
        return ConfigurationError(f"the bucket {bucket} is not at {where} ({code}); correct the region or the endpoint")
    return StorageUnavailable(f"{where} did not answer for the bucket {bucket}: {error}")


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
