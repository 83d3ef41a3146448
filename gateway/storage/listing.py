"""Listing a bucket of an S3 service, by the newer call or by the older one where a service lacks it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from gateway.errors import BucketMissing, NotOffered, StorageUnavailable
from gateway.ports.storage import LISTED_AT_ONCE, ListedObject, ListedUpload
from gateway.storage.answers import NO_OBJECT, NO_SUCH_CALL, Refused, domain_error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence


class _Ask(Protocol):
    async def __call__(self, operation: str, **parameters: Any) -> Any:
        """See S3Storage.ask."""


class Listing:
    """Lists buckets of one service, and remembers which call it knows."""

    def __init__(self, ask: _Ask) -> None:
        self._ask = ask
        self._is_old = False

    async def see_bucket(self, bucket: str) -> None:
        """Raise BucketMissing for a bucket that is not there; what is asked for by HEAD is just missing then."""
        try:
            await self._ask("head_bucket", Bucket=bucket)
        except Refused as error:
            if error.code in NO_OBJECT:
                raise BucketMissing(f"there is no bucket {bucket}: {error}") from error

    async def objects(self, bucket: str, prefix: str, after: str) -> AsyncIterator[Sequence[ListedObject]]:
        """Yield objects page by page; raises StorageUnavailable when a service does not keep to the order of keys."""
        last, token = after, None
        while True:
            try:
                answer = await self._page(bucket, prefix, last, token)
            except Refused as error:
                raise domain_error(error.code, f"listing {prefix} of {bucket} failed: {error}") from error
            page = [
                ListedObject(each["Key"], each["Size"], each["LastModified"]) for each in answer.get("Contents", ())
            ]
            for each in page:
                if not each.key.startswith(prefix) or (each.key <= last and _folder(each.key) == _folder(last)):
                    raise StorageUnavailable(f"the storage lists {each.key} behind {last}: its order cannot be used")
                last = each.key
            if page:
                yield page
            if not answer.get("IsTruncated"):
                return
            token = answer.get("NextContinuationToken")
            if not page and token is None:
                raise StorageUnavailable(f"the storage does not say how its list of {bucket} goes on")

    async def _page(self, bucket: str, prefix: str, last: str, token: str | None) -> Any:
        place = {"Bucket": bucket, "Prefix": prefix, "MaxKeys": LISTED_AT_ONCE}
        if not self._is_old:
            # Where the token says how to go on, some services want nothing else beside it.
            start = {"ContinuationToken": token} if token else {"StartAfter": last} if last else {}
            try:
                answer = await self._ask("list_objects_v2", **place, **start)
            except Refused as error:
                if error.code not in NO_SUCH_CALL:
                    raise
            else:
                # A service that does not know the newer call takes it for the older one, and begins anew each time.
                if "KeyCount" in answer:
                    return answer
            self._is_old = True
        return await self._ask("list_objects", **place, **({"Marker": last} if last else {}))

    async def uploads(self, bucket: str, prefix: str) -> AsyncIterator[Sequence[ListedUpload]]:
        """Yield multipart uploads page by page."""
        start: dict[str, str] = {}
        while True:
            try:
                answer = await self._ask(
                    "list_multipart_uploads", Bucket=bucket, Prefix=prefix, MaxUploads=LISTED_AT_ONCE, **start
                )
            except Refused as error:
                message = f"listing uploads of {prefix} in {bucket} failed: {error}"
                raise (
                    NotOffered(message) if error.code in NO_SUCH_CALL else domain_error(error.code, message)
                ) from error
            found = [
                ListedUpload(each["Key"], each["UploadId"], each["Initiated"]) for each in answer.get("Uploads", ())
            ]
            if page := [each for each in found if each.key.startswith(prefix)]:
                yield page
            if not answer.get("IsTruncated"):
                return
            # One service states the id alone, and finds nothing when it is told a key as well.
            stated = {"KeyMarker": answer.get("NextKeyMarker"), "UploadIdMarker": answer.get("NextUploadIdMarker")}
            following = {name: value for name, value in stated.items() if value}
            if not following or following == start:
                raise StorageUnavailable(f"the storage does not say how its list of uploads in {bucket} goes on")
            start = following


def _folder(key: str) -> str:
    return key.rpartition("/")[0]
