"""Blobs in a service that speaks S3. With s3_client.py the only module that knows aiobotocore; its errors end here."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from aiobotocore.credentials import AioCredentials
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as UnreachableError
from botocore.utils import get_environ_proxies

from gateway.errors import (
    ConfigurationError,
    MultipartLost,
    NotOffered,
    ObjectDamaged,
    ObjectMissing,
    StorageUnavailable,
)
from gateway.model.endpoints import Endpoint
from gateway.model.ranges import ByteRange
from gateway.ports.observing import unmeasured
from gateway.ports.storage import ByteStream, Location
from gateway.storage.addresses import Addresses, Places, Signing
from gateway.storage.answers import Refused, bucket_error, check_range, exactly, nothing
from gateway.storage.body import PartBody
from gateway.storage.buffers import BufferPool
from gateway.storage.credentials import Credentials
from gateway.storage.listing import Listing
from gateway.storage.multipart import Sent
from gateway.storage.parts import MultipartAppender, UploadMemory
from gateway.storage.reading import ObjectReader
from gateway.storage.s3_client import error_code, opened_client, translated
from gateway.storage.sockets import Sockets
from gateway.transport.upstream import Limits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from types import TracebackType

    from gateway.ports.observing import Measure
    from gateway.ports.storage import Appender, ListedObject, ListedUpload, Part, Stored, UploadRecorder

_MIB = 1 << 20
_PASSING = frozenset({500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class S3Settings:
    """How to reach a service and how much to do at once. Without keys, botocore looks for them in its usual places."""

    endpoint_url: str | None = None
    region: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    public_endpoint_url: str | None = None
    """Where clients of public endpoints reach the service; None is the same address."""
    private_endpoint_url: str | None = None
    """The same for clients of private endpoints."""
    part_size: int = 8 * _MIB
    parts_in_flight: int = 4
    buffer_memory: int = 192 * _MIB
    presign_seconds: int = 600
    connections: int = 256
    connect_timeout: float = 3.0
    read_timeout: float = 30.0
    """Seconds that a service may stay silent after it has got a request."""
    idle_timeout: float = 10.0
    """Seconds after which a connection that reads objects is not used again."""
    call_timeout: float = 120.0
    """Seconds for a whole call with its retries, to which a second is added for each MiB sent."""

    @property
    def addresses(self) -> dict[Endpoint, str | None]:
        """Where the clients of each endpoint reach the service; None is the usual address."""
        return {Endpoint.PUBLIC: self.public_endpoint_url, Endpoint.PRIVATE: self.private_endpoint_url}


class S3Storage:
    """A BlobStorage and MultipartStore. One client, entered once in each process."""

    def __init__(self, settings: S3Settings, measure: Measure = unmeasured) -> None:
        self._settings = settings
        self._measure = measure
        self._stack = AsyncExitStack()
        self._client: Any = None
        self._places: Places | None = None
        self._signing: dict[Endpoint, Signing] = {}
        self._reader: ObjectReader | None = None
        self._listing = Listing(self.ask)
        first = settings.buffer_memory // 4
        self._memory = UploadMemory(
            first=BufferPool(first),
            parts=BufferPool(settings.buffer_memory - first),
            part_size=settings.part_size,
            parts_in_flight=settings.parts_in_flight,
        )

    @property
    def buffers(self) -> tuple[BufferPool, ...]:
        """The memory of uploads."""
        return (self._memory.first, self._memory.parts)

    async def __aenter__(self) -> Self:
        settings = self._settings
        session = get_session()
        sockets = Sockets()
        self._stack.push_async_callback(sockets.aclose)
        self._client = await self._new_client(session, settings.endpoint_url, sockets)
        credentials = await self._found_credentials(session)
        self._places = self._new_places(self._client, credentials)
        usual = self._new_signing(self._client, self._places, credentials)
        for endpoint, url in settings.addresses.items():
            self._signing[endpoint] = usual
            if url is not None:
                client = await self._new_client(session, url, sockets)
                self._signing[endpoint] = self._new_signing(client, self._new_places(client, credentials), credentials)
        if credentials is not None:
            self._prepare_reading(credentials)
        return self

    async def _new_client(self, session: Any, endpoint_url: str | None, sockets: Sockets) -> Any:
        return await self._stack.enter_async_context(opened_client(session, self._settings, endpoint_url, sockets))

    async def _found_credentials(self, session: Any) -> Credentials | None:
        """Return what signs without the library, None where there are no keys to sign with."""
        settings = self._settings
        if settings.access_key_id is not None:
            found: Any = AioCredentials(settings.access_key_id, settings.secret_access_key)
        else:
            found = await session.get_credentials()
        if found is None:
            return None
        credentials = Credentials(found)
        await self._stack.enter_async_context(credentials.kept_fresh())
        return credentials

    def _new_places(self, client: Any, credentials: Credentials | None) -> Places | None:
        return Places(credentials, partial(self._presign_slowly, client)) if credentials else None

    def _new_signing(self, client: Any, places: Places | None, credentials: Credentials | None) -> Signing:
        addresses = Addresses(credentials, self._settings.presign_seconds) if credentials else None
        return Signing(partial(self._presign_slowly, client), places, addresses)

    def _prepare_reading(self, credentials: Credentials) -> None:
        """Make what reads without the library; it knows no proxies."""
        settings = self._settings
        if not get_environ_proxies(self._client.meta.endpoint_url):
            limits = Limits(
                settings.connect_timeout, settings.read_timeout, settings.idle_timeout, settings.connections
            )
            self._reader = ObjectReader(credentials, limits, self._limit(0), self._measure)
            self._stack.callback(self._reader.close)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    # --- BlobStorage -----------------------------------------------------------------------------

    async def check_bucket(self, bucket: str, *, make: bool = True) -> None:
        """Ask for the bucket; everything but an unreachable service is a matter of configuration."""
        del make  # buckets are never ours to make
        try:
            await self.ask("head_bucket", Bucket=bucket)
        except Refused as error:
            raise bucket_error(bucket, self.where, error) from error

    @asynccontextmanager
    async def appender(
        self,
        bucket: str,
        stored: Stored,
        recorder: UploadRecorder,
        *,
        length: int | None,
    ) -> AsyncIterator[Appender]:
        """Go on with an upload; see BlobStorage."""
        appender = MultipartAppender(self, bucket, stored, recorder, self._memory, length=length)
        try:
            yield appender
        finally:
            await appender.close()

    @asynccontextmanager
    async def open(self, location: Location, span: ByteRange) -> AsyncIterator[ByteStream]:
        """Open bytes of an object; the connection is closed unless all of them were read."""
        if not span.length:
            await self._check_empty_span(location, span)
            yield ByteStream(nothing(), 0)
            return
        place = await self._places.of(location.bucket) if self._places else None
        if place is not None and place.scheme == "http" and self._reader is not None:
            async with self._reader.open(place, location, span) as content:
                yield content
            return
        wanted = f"bytes={span.start}-{span.stop - 1}"
        answer = await self._call(f"reading {location.key}", "get_object", location, Range=wanted)
        response = answer["Body"].raw_stream
        chunks = exactly(response.content.iter_any(), span.length, location)
        try:
            check_range(answer.get("ContentRange", ""), answer.get("ContentLength"), location, span)
            yield ByteStream(chunks, span.length)
        finally:
            # After the last byte the connection is back in the pool and this does nothing.
            response.close()
            await chunks.aclose()

    async def stat(self, location: Location) -> int | None:
        """Return the size of an object in bytes, None when there is no such object."""
        try:
            answer = await self._call(f"looking for {location.key}", "head_object", location)
        except ObjectMissing:
            await self._listing.see_bucket(location.bucket)
            return None
        return int(answer["ContentLength"])

    def list_objects(self, bucket: str, prefix: str, after: str = "") -> AsyncIterator[Sequence[ListedObject]]:
        """List objects; see BlobStorage."""
        return self._listing.objects(bucket, prefix, after)

    def list_uploads(self, bucket: str, prefix: str) -> AsyncIterator[Sequence[ListedUpload]]:
        """List multipart uploads; see BlobStorage."""
        return self._listing.uploads(bucket, prefix)

    async def store(self, location: Location, content: bytes) -> None:
        """Store a small object; see BlobStorage."""
        await self.put(location, [memoryview(content)])

    async def remove(self, location: Location, multipart_id: str | None) -> None:
        """Abort first, so that a Complete which comes late finds nothing to complete; then delete."""
        if multipart_id is not None:
            await self.abort(location, multipart_id)
        with suppress(ObjectMissing):
            await self._call(f"deleting {location.key}", "delete_object", location)

    async def presign(self, location: Location, endpoint: Endpoint) -> str | None:
        """Sign an address for GET; this sends nothing."""
        return await self._signing[endpoint].presign(location)

    async def _presign_slowly(self, client: Any, location: Location) -> str:
        with translated("signing an address"):
            url = await client.generate_presigned_url(
                "get_object",
                Params={"Bucket": location.bucket, "Key": location.key},
                ExpiresIn=self._settings.presign_seconds,
            )
        return str(url)

    # --- MultipartStore --------------------------------------------------------------------------

    async def put(self, location: Location, body: Sequence[memoryview]) -> Sent:
        """Store an object."""
        content = PartBody(body)
        answer = await self._call(f"storing {location.key}", "put_object", location, len(content), Body=content)
        return _sent(answer)

    async def create_multipart(self, location: Location) -> str:
        """Begin a multipart upload and return its id."""
        answer = await self._call(f"beginning {location.key}", "create_multipart_upload", location)
        multipart_id = str(answer["UploadId"])
        if _was_repeated(answer):
            await self._abort_others(location, multipart_id)
        return multipart_id

    async def _abort_others(self, location: Location, kept: str) -> None:
        """Abort what attempts have begun whose answers were lost: once the object is there, nobody looks for it."""
        with suppress(NotOffered):
            async for page in self.list_uploads(location.bucket, location.key):
                for upload in page:
                    if upload.key == location.key and upload.multipart_id != kept:
                        await self.abort(location, upload.multipart_id)

    async def upload_part(
        self,
        location: Location,
        multipart_id: str,
        number: int,
        body: Sequence[memoryview],
    ) -> Sent:
        """Store a part."""
        content = PartBody(body)
        answer = await self._call(
            f"storing part {number} of {location.key}",
            "upload_part",
            location,
            len(content),
            UploadId=multipart_id,
            PartNumber=number,
            Body=content,
        )
        return _sent(answer)

    async def complete_multipart(self, location: Location, multipart_id: str, parts: Sequence[Part]) -> None:
        """Make an object of the listed parts."""
        listed = [{"PartNumber": part.number, "ETag": part.etag} for part in parts]
        await self._call(
            f"completing {location.key}",
            "complete_multipart_upload",
            location,
            UploadId=multipart_id,
            MultipartUpload={"Parts": listed},
        )

    async def abort(self, location: Location, multipart_id: str) -> None:
        """Drop a multipart upload and its parts."""
        try:
            await self._call(f"dropping {location.key}", "abort_multipart_upload", location, UploadId=multipart_id)
        except (MultipartLost, ObjectMissing):
            return

    async def read(self, location: Location, into: memoryview) -> None:
        """Fill the memory with the whole object."""
        place = 0
        with translated(f"reading {location.key}"):
            async with (
                asyncio.timeout(self._limit(len(into))),
                self.open(location, ByteRange(0, len(into))) as content,
            ):
                async for chunk in content.chunks:
                    into[place : place + len(chunk)] = chunk
                    place += len(chunk)

    # --- calling ---------------------------------------------------------------------------------

    @property
    def where(self) -> str:
        """The service, as people call it."""
        return self._settings.endpoint_url or f"AWS, region {self._settings.region}"

    @property
    def name(self) -> str:
        """What tells this storage from others, in the database."""
        return f"s3:{self._settings.endpoint_url or self._settings.region}"

    async def ask(self, operation: str, **parameters: Any) -> Any:
        """Make one call that is not about an object; raises Refused when the service answers with an error."""
        with self._measure(operation):
            return await self._ask(operation, parameters)

    async def _ask(self, operation: str, parameters: dict[str, Any]) -> Any:
        try:
            async with asyncio.timeout(self._limit(0)):
                return await getattr(self._client, operation)(**parameters)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] in _PASSING:
                raise StorageUnavailable(f"{self.where} does not answer: {error}") from error
            raise Refused(error_code(error), str(error.response.get("Error", {}).get("Message", ""))) from error
        except (UnreachableError, HTTPClientError, OSError) as error:
            raise StorageUnavailable(f"{self.where} cannot be reached: {error}") from error
        except BotoCoreError as error:
            raise ConfigurationError(f"{self.where} cannot be asked: {error}") from error

    async def _call(self, action: str, operation: str, location: Location, sent: int = 0, **parameters: Any) -> Any:
        """Make one call, with the client's retries and a limit on all of it."""
        with self._measure(operation), translated(action):
            async with asyncio.timeout(self._limit(sent)):
                return await getattr(self._client, operation)(
                    Bucket=location.bucket,
                    Key=location.key,
                    **parameters,
                )

    def _limit(self, sent: int) -> float:
        return self._settings.call_timeout + sent / _MIB

    async def _check_empty_span(self, location: Location, span: ByteRange) -> None:
        """A range of no bytes cannot be asked for, so ask for the size."""
        size = await self.stat(location)
        if size is None:
            raise ObjectMissing(f"there is no object {location.key}")
        if size < span.stop:
            raise ObjectDamaged(f"{location.key} has {size} bytes instead of at least {span.stop}")


# --- answers -------------------------------------------------------------------------------------


def _sent(answer: Any) -> Sent:
    """Read what a store call answered; without an ETag nobody knows what was stored."""
    etag = answer.get("ETag")
    if not etag:
        raise StorageUnavailable("the storage took a body and did not say what it stored")
    return Sent(etag, repeated=_was_repeated(answer))


def _was_repeated(answer: Any) -> bool:
    """Tell whether an answer is that to a second attempt, or a later one."""
    return bool(answer["ResponseMetadata"]["RetryAttempts"] > 0)
