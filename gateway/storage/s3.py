"""Blobs in a service that speaks S3. The only module that knows aiobotocore, whose errors end here."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from aiobotocore.config import AioConfig
from aiobotocore.credentials import AioCredentials
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as UnreachableError
from botocore.handlers import add_expect_header
from botocore.utils import get_environ_proxies

from gateway.errors import (
    BackendError,
    ConfigurationError,
    MultipartLost,
    ObjectDamaged,
    ObjectMissing,
    StorageUnavailable,
)
from gateway.model.ranges import ByteRange
from gateway.ports.storage import ByteStream, Location
from gateway.storage.addresses import Addresses, Places
from gateway.storage.answers import NO_OBJECT, check_range, domain_error, exactly, nothing
from gateway.storage.body import PartBody
from gateway.storage.buffers import BufferPool
from gateway.storage.credentials import Credentials
from gateway.storage.multipart import Sent
from gateway.storage.parts import MultipartAppender, UploadMemory
from gateway.storage.reading import ObjectReader
from gateway.storage.sockets import Sockets
from gateway.transport.upstream import Limits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from types import TracebackType

    from gateway.ports.storage import Appender, Part, Stored, UploadRecorder

_MIB = 1 << 20
_ATTEMPTS = 5
_DENIED = frozenset({"AccessDenied", "403", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch"})


@dataclass(frozen=True, slots=True)
class S3Settings:
    """How to reach a service and how much to do at once. Without keys, botocore looks for them in its usual places."""

    endpoint_url: str | None = None
    region: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    part_size: int = 8 * _MIB
    parts_in_flight: int = 4
    buffer_memory: int = 256 * _MIB
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
    def addressing_style(self) -> str:
        """Bucket in the path for services of one's own, in the host name for AWS."""
        return "path" if self.endpoint_url else "virtual"


class S3Storage:
    """A BlobStorage and MultipartStore. One client, entered once in each process."""

    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings
        self._stack = AsyncExitStack()
        self._client: Any = None
        self._places: Places | None = None
        self._addresses: Addresses | None = None
        self._reader: ObjectReader | None = None
        first = settings.buffer_memory // 4
        self._memory = UploadMemory(
            first=BufferPool(first),
            parts=BufferPool(settings.buffer_memory - first),
            part_size=settings.part_size,
            parts_in_flight=settings.parts_in_flight,
        )

    async def __aenter__(self) -> Self:
        settings = self._settings
        session = get_session()
        sockets = Sockets()
        self._stack.push_async_callback(sockets.aclose)
        client = session.create_client(
            "s3",
            endpoint_url=settings.endpoint_url,
            region_name=settings.region,
            aws_access_key_id=settings.access_key_id,
            aws_secret_access_key=settings.secret_access_key,
            config=_client_config(settings, sockets),
        )
        try:
            self._client = await self._stack.enter_async_context(client)
        except (BotoCoreError, ValueError) as error:
            raise ConfigurationError(f"the S3 storage cannot be used as it is configured: {error}") from error
        # With Expect, aiohttp waits without any time limit for a server that never says 100.
        self._client.meta.events.unregister("before-call.s3", add_expect_header)
        await self._prepare_reading(session)
        return self

    async def _prepare_reading(self, session: Any) -> None:
        """Make what reads and signs without the library, where there are keys to sign with."""
        settings = self._settings
        if settings.access_key_id is not None:
            found: Any = AioCredentials(settings.access_key_id, settings.secret_access_key)
        else:
            found = await session.get_credentials()
        if found is None:
            return
        credentials = Credentials(found)
        await self._stack.enter_async_context(credentials.kept_fresh())
        self._places = Places(credentials, self._presign_slowly)
        self._addresses = Addresses(credentials, settings.presign_seconds)
        if not get_environ_proxies(self._client.meta.endpoint_url):
            limits = Limits(
                settings.connect_timeout, settings.read_timeout, settings.idle_timeout, settings.connections
            )
            self._reader = ObjectReader(credentials, limits, self._limit(0))
            self._stack.callback(self._reader.close)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    # --- BlobStorage -----------------------------------------------------------------------------

    async def check_bucket(self, bucket: str) -> None:
        """Ask for the bucket; everything but an unreachable service is a matter of configuration."""
        where = self._settings.endpoint_url or f"AWS, region {self._settings.region}"
        try:
            async with asyncio.timeout(self._limit(0)):
                await self._client.head_bucket(Bucket=bucket)
        except ClientError as error:
            raise _bucket_error(bucket, where, error) from error
        except (UnreachableError, HTTPClientError, OSError) as error:
            raise StorageUnavailable(f"{where} cannot be reached: {error}") from error
        except BotoCoreError as error:
            raise ConfigurationError(f"the bucket {bucket} cannot be used: {error}") from error

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
            return None
        return int(answer["ContentLength"])

    async def remove(self, location: Location, multipart_id: str | None) -> None:
        """Abort first, so that a Complete which comes late finds nothing to complete; then delete."""
        if multipart_id is not None:
            await self.abort(location, multipart_id)
        try:
            await self._call(f"deleting {location.key}", "delete_object", location)
        except ObjectMissing:
            return

    async def presign(self, location: Location) -> str | None:
        """Sign an address for GET; this sends nothing."""
        place = await self._places.of(location.bucket) if self._places else None
        if place is not None and self._addresses is not None:
            return await self._addresses.of(place, location)
        return await self._presign_slowly(location)

    async def _presign_slowly(self, location: Location) -> str:
        with _translated("signing an address"):
            url = await self._client.generate_presigned_url(
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
        return str(answer["UploadId"])

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
        with _translated(f"reading {location.key}"):
            async with (
                asyncio.timeout(self._limit(len(into))),
                self.open(location, ByteRange(0, len(into))) as content,
            ):
                async for chunk in content.chunks:
                    into[place : place + len(chunk)] = chunk
                    place += len(chunk)

    # --- calling ---------------------------------------------------------------------------------

    async def _call(self, action: str, operation: str, location: Location, sent: int = 0, **parameters: Any) -> Any:
        """Make one call, with the client's retries and a limit on all of it."""
        with _translated(action):
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


def _client_config(settings: S3Settings, sockets: Sockets) -> AioConfig:
    """Turn off what costs time or breaks services other than AWS (measured: checksums take 9 ms per part)."""
    return AioConfig(
        signature_version="s3v4",
        s3={"addressing_style": settings.addressing_style, "payload_signing_enabled": False},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        max_pool_connections=settings.connections,
        connect_timeout=settings.connect_timeout,
        read_timeout=settings.read_timeout,
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        connector_args={"socket_factory": sockets.make},
    )


# --- answers -------------------------------------------------------------------------------------


def _sent(answer: Any) -> Sent:
    """Read what a store call answered; without an ETag nobody knows what was stored."""
    etag = answer.get("ETag")
    if not etag:
        raise StorageUnavailable("the storage took a body and did not say what it stored")
    return Sent(etag, repeated=answer["ResponseMetadata"]["RetryAttempts"] > 0)


# --- errors --------------------------------------------------------------------------------------


@contextmanager
def _translated(action: str) -> Iterator[None]:
    """Turn the client's errors into ours."""
    try:
        yield
    except ClientError as error:
        raise _domain_error(action, error) from error
    except TimeoutError as error:
        raise StorageUnavailable(f"{action} took too long") from error
    except (BotoCoreError, OSError) as error:
        raise StorageUnavailable(f"{action} failed: {error}") from error


def _domain_error(action: str, error: ClientError) -> BackendError:
    code = _code(error)
    return domain_error(code, f"{action} failed: {code}, {error.response.get('Error', {}).get('Message', '')}")


def _bucket_error(bucket: str, where: str, error: ClientError) -> ConfigurationError | StorageUnavailable:
    code = _code(error)
    if code in NO_OBJECT or code == "NoSuchBucket":
        return ConfigurationError(f"there is no bucket {bucket} at {where}; create it, or correct the name")
    if code in _DENIED:
        return ConfigurationError(
            f"{where} denies access to the bucket {bucket}; check the access key and its policy",
        )
    if code in {"301", "400", "PermanentRedirect"}:
        return ConfigurationError(f"the bucket {bucket} is not at {where} ({code}); correct the region or the endpoint")
    return StorageUnavailable(f"{where} did not answer for the bucket {bucket}: {error}")


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
