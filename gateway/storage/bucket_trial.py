"""Trying a bucket out: each thing that a registry does, done once with small objects of our own."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import urllib.error
import urllib.request
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gateway.errors import BackendError
from gateway.model.endpoints import Endpoint
from gateway.model.findings import Finding, Severity
from gateway.model.ranges import ByteRange
from gateway.ports.storage import Location
from gateway.storage.answers import Refused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.storage.s3 import S3Storage

_CONTENT = b"slipway tries out whether this bucket can hold a registry"
_SMALLEST_PART = 5 * 1024 * 1024
_SECONDS_TO_FETCH = 10
_ANOTHER_SERVICE = "use another service, or a newer version of this one"


class _Wrong(Exception):
    """A step has come to another result than it should have."""


class BucketTrial:
    """One trial of one bucket."""

    def __init__(self, storage: S3Storage, bucket: str) -> None:
        self._storage = storage
        self._bucket = bucket
        self._key = f"slipway/doctor/{secrets.token_hex(8)}"
        self._uploads: list[str] = []

    async def run(self) -> list[Finding]:
        """Do everything once and return what went wrong; what was stored is removed again."""
        try:
            found = await self._step("storing an object", "allow s3:PutObject", self._put)
            if found:
                return found
            found += await self._step("reading a range", "allow s3:GetObject; " + _ANOTHER_SERVICE, self._read_range)
            found += await self._presigned()
            for what, mend, step in (
                ("storing in parts", "allow s3:PutObject and s3:AbortMultipartUpload", self._multipart),
                ("a part with another ETag", _ANOTHER_SERVICE, self._wrong_etag),
                ("deleting an object", "allow s3:DeleteObject", self._delete),
            ):
                found += await self._step(what, mend, step)
            return found
        finally:
            await self._clean_up()

    async def _step(self, what: str, mend: str, step: Callable[[], Awaitable[None]]) -> list[Finding]:
        try:
            await step()
        except BackendError as error:
            return [Finding(Severity.ERROR, what, str(error), "look into the storage's own log, and try again")]
        except (Refused, _Wrong) as error:
            return [Finding(Severity.ERROR, what, str(error), mend)]
        return []

    async def _ask(self, operation: str, **parameters: Any) -> Any:
        return await self._storage.ask(operation, Bucket=self._bucket, Key=self._key, **parameters)

    async def _put(self) -> None:
        await self._ask("put_object", Body=_CONTENT)

    async def _read_range(self) -> None:
        await self._expect(_CONTENT[3:10], ByteRange(3, 10))

    async def _expect(self, wanted: bytes, span: ByteRange) -> None:
        async with self._storage.open(Location(self._bucket, self._key), span) as content:
            found = b"".join([bytes(chunk) async for chunk in content.chunks])
        if found != wanted:
            raise _Wrong("other bytes came back than were stored")

    async def _multipart(self) -> None:
        """Complete an upload of which one part is not listed, and some numbers were never used."""
        first, last = hashlib.sha256(_CONTENT).digest() * (_SMALLEST_PART // 32), b"the end"
        upload = await self._begin()
        begun = await self._part(upload, 2, first)
        await self._part(upload, 5, b"not listed")
        ended = await self._part(upload, 7, last)
        listed = [{"PartNumber": 2, "ETag": begun}, {"PartNumber": 7, "ETag": ended}]
        try:
            await self._complete(upload, listed)
        except Refused as error:
            raise _Wrong(f"part numbers with gaps, or parts that are not listed, are not taken ({error})") from error
        size = await self._storage.stat(Location(self._bucket, self._key))
        if size != len(first) + len(last):
            raise _Wrong(f"the object has {size} bytes instead of those of the listed parts")
        await self._expect(first[-1:] + last, ByteRange(len(first) - 1, size))

    async def _wrong_etag(self) -> None:
        upload = await self._begin()
        await self._part(upload, 1, b"a part")
        listed = [{"PartNumber": 1, "ETag": f'"{hashlib.md5(b"another part", usedforsecurity=False).hexdigest()}"'}]
        with suppress(Refused):
            await self._complete(upload, listed)
            raise _Wrong("it was taken, so a part could be another one than was meant")

    async def _begin(self) -> str:
        upload = str((await self._ask("create_multipart_upload"))["UploadId"])
        self._uploads.append(upload)
        return upload

    async def _part(self, upload: str, number: int, content: bytes) -> str:
        return str((await self._ask("upload_part", UploadId=upload, PartNumber=number, Body=content))["ETag"])

    async def _complete(self, upload: str, listed: list[dict[str, Any]]) -> None:
        await self._ask("complete_multipart_upload", UploadId=upload, MultipartUpload={"Parts": listed})

    async def _presigned(self) -> list[Finding]:
        """Fetch by the addresses that clients get; those of clients elsewhere may not work from here."""
        location = Location(self._bucket, self._key)
        addresses = [await self._storage.presign(location, endpoint) for endpoint in Endpoint]
        found = []
        for address in {urlsplit(each).netloc: each for each in addresses if each}.values():
            reason = await asyncio.to_thread(_fetch, address)
            if reason is not None:
                found.append(
                    Finding(
                        Severity.WARNING,
                        "presigned addresses",
                        f"fetching from {urlsplit(address).netloc} fails from here: {reason}",
                        "correct the storage's addresses and allow s3:GetObject, or deliver blobs by proxy",
                    )
                )
        return found

    async def _delete(self) -> None:
        await self._ask("delete_object")
        if await self._storage.stat(Location(self._bucket, self._key)) is not None:
            raise _Wrong("the object is still there after it was deleted")

    async def _clean_up(self) -> None:
        """Leave nothing behind; what cannot be removed was found above."""
        for upload in self._uploads:
            with suppress(Refused, BackendError):
                await self._ask("abort_multipart_upload", UploadId=upload)
        with suppress(Refused, BackendError):
            await self._ask("delete_object")


def _fetch(address: str) -> str | None:
    """Fetch like a client; return why that fails, None when it does not."""
    try:
        with urllib.request.urlopen(address, timeout=_SECONDS_TO_FETCH) as answer:  # noqa: S310  (we have made it)
            content = answer.read(len(_CONTENT) + 1)
    except urllib.error.HTTPError as error:
        with error:
            return f"status {error.code}"
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error))
    return None if content == _CONTENT else "something else is there"
