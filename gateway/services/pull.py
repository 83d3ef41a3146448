"""Pulling blobs."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from gateway.ports.storage import Location

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from gateway.model.access import Actor
    from gateway.model.digest import Digest
    from gateway.model.endpoints import Delivery, Endpoint
    from gateway.model.names import RepositoryName
    from gateway.model.networks import IpAddress
    from gateway.model.ranges import ByteRange
    from gateway.ports.directory import RegistrySettings
    from gateway.ports.metadata import BlobIndex, BlobRecord, Registry
    from gateway.ports.storage import BlobContent, BlobStorage

_GRACE = timedelta(hours=24)


class Pull:
    """Blobs on their way out."""

    def __init__(
        self, blobs: BlobIndex, storage: BlobStorage, delivery: Delivery, *, grace: timedelta = _GRACE
    ) -> None:
        """Pull from a storage.

        ``delivery`` is how, where a registry does not say; ``grace`` is for how long a blob without a manifest is kept.
        """
        self._blobs = blobs
        self._storage = storage
        self._delivery = delivery
        self._promised = grace.total_seconds() / 8

    async def find(self, registry: Registry, repository: RepositoryName, digest: Digest) -> BlobRecord:
        """Return a blob of a repository; raise BlobUnknown."""
        return await self._blobs.fetch_blob(registry, repository, digest)

    async def promise(self, registry: Registry, repository: RepositoryName, digest: Digest) -> BlobRecord:
        """Return a blob that the client may rely on: it will refer to it instead of sending it; raise BlobUnknown."""
        blob = await self._blobs.fetch_blob(registry, repository, digest)
        # Most of the grace time is left after a question of a moment ago.
        if blob.unreferenced_for is not None and blob.unreferenced_for >= self._promised:
            await self._blobs.promise_blob(registry, repository, digest)
        return blob

    async def delete(self, registry: Registry, repository: RepositoryName, digest: Digest, actor: Actor) -> None:
        """Take a blob out of a repository (end-10); raise BlobUnknown or StillReferenced."""
        await self._blobs.delete_blob(registry, repository, digest, actor)

    async def address(
        self, settings: RegistrySettings, blob: BlobRecord, endpoint: Endpoint, client: IpAddress
    ) -> str | None:
        """Return where the client is to fetch the blob instead of here; None when it is to be served."""
        storage = settings.delivery(self._delivery).redirects_to(endpoint, client)
        if storage is None:
            return None
        return await self._storage.presign(Location(settings.registry.bucket, blob.key), storage)

    def open(self, registry: Registry, blob: BlobRecord, span: ByteRange) -> AbstractAsyncContextManager[BlobContent]:
        """Open bytes of a blob."""
        return self._storage.open(Location(registry.bucket, blob.key), span)
