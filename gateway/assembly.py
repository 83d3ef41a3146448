"""Storage and registries put together from their parts, in the same way for the server and for commands."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.db.registries import RegistryRows, ensure_default_registry, prepare_registries
from gateway.errors import AlreadyTaken, BackendError, ClientError, ConfigurationError, ValueRefused
from gateway.model.endpoints import Delivery
from gateway.services.registries import Registries, check_unclaimed, refuse_unfit
from gateway.storage.file_buckets import FileBuckets
from gateway.storage.filesystem import FilesystemStorage
from gateway.storage.s3 import S3Settings, S3Storage
from gateway.storage.s3_buckets import S3Buckets

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.config import Settings
    from gateway.db.pool import Database
    from gateway.ports.buckets import BucketKeeper
    from gateway.ports.storage import BlobStorage
    from gateway.services.markers import Markers

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Storage:
    """The configured storage: its blobs, and its buckets as such."""

    blobs: BlobStorage
    buckets: BucketKeeper


@asynccontextmanager
async def opened_storage(settings: Settings) -> AsyncIterator[Storage]:
    """Open the configured storage; raises ConfigurationError."""
    if settings.storage == "filesystem":
        root = settings.data_dir / "buckets"
        files = FilesystemStorage(root)
        yield Storage(files, FileBuckets(root, files))
        return
    s3 = S3Settings(
        endpoint_url=settings.s3_endpoint_url,
        public_endpoint_url=settings.s3_public_endpoint_url,
        private_endpoint_url=settings.s3_private_endpoint_url,
        region=settings.s3_region,
        access_key_id=settings.s3_access_key_id,
        secret_access_key=settings.s3_secret_access_key,
    )
    async with S3Storage(s3) as service:
        yield Storage(service, S3Buckets(service))


def registries(settings: Settings, database: Database, storage: Storage, markers: Markers) -> Registries:
    """Make what manages registries."""
    return Registries(
        RegistryRows(database),
        storage.buckets,
        markers,
        delivery=Delivery(settings.blob_delivery),
        reserved=settings.reserved_names,
    )


async def begin_registries(settings: Settings, database: Database, storage: Storage, markers: Markers) -> None:
    """Make the default registry if it is missing, and mark the buckets of all as ours.

    Raises ConfigurationError when the default registry, or a registry of another storage, cannot be served.
    """
    rows = RegistryRows(database)
    name = settings.default_name
    await prepare_registries(database, storage.buckets.name, has_default=name is not None)
    if name is not None:
        await _begin_default(settings, database, storage, markers, name)
    for each in await rows.list_registries():
        try:
            await markers.claim(each.registry)
        except (ClientError, BackendError) as error:
            # The others can be served all the same.
            _log.warning("the bucket of the registry %s is not marked as ours: %s", each.name, error)


async def _begin_default(settings: Settings, database: Database, storage: Storage, markers: Markers, name: str) -> None:
    found = await RegistryRows(database).fetch_by_name(name)
    bucket = settings.s3_bucket or (found.registry.bucket if found else name)
    restricted = False
    try:
        if found is None:
            refuse_unfit(bucket, await storage.buckets.inspect(bucket))
            await check_unclaimed(markers, bucket)
            restricted = await storage.buckets.is_restricted(bucket)
        else:
            await storage.blobs.check_bucket(bucket)
        delivery = Delivery.PROXY if restricted else None
        await markers.claim(await ensure_default_registry(database, storage.buckets.name, bucket, name, delivery))
    except (AlreadyTaken, ValueRefused) as error:
        raise ConfigurationError(f"the default registry {name} cannot be served: {error}") from error
