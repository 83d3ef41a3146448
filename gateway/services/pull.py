"""Pulling blobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.ports.storage import Location

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from gateway.model.access import Actor
    from gateway.model.digest import Digest
    from gateway.model.names import RepositoryName
    from gateway.model.ranges import ByteRange
    from gateway.ports.metadata import BlobIndex, BlobRecord, Registry
    from gateway.ports.storage import BlobContent, BlobStorage


class Pull:
    """Blobs on their way out."""

    def __init__(self, blobs: BlobIndex, storage: BlobStorage, *, redirects: bool) -> None:
        self._blobs = blobs
        self._storage = storage
        self._redirects = redirects

    async def find(self, registry: Registry, repository: RepositoryName, digest: Digest) -> BlobRecord:
        """Return a blob of a repository; raise BlobUnknown."""
        return await self._blobs.fetch_blob(registry, repository, digest)

    async def delete(self, registry: Registry, repository: RepositoryName, digest: Digest, actor: Actor) -> None:
        """Take a blob out of a repository (end-10); raise BlobUnknown or StillReferenced."""
        await self._blobs.delete_blob(registry, repository, digest, actor)

    async def address(self, registry: Registry, blob: BlobRecord) -> str | None:
        """Return where the client is to fetch the blob instead of here; None when it is to be served."""
        return await self._storage.presign(Location(registry.bucket, blob.key)) if self._redirects else None

    def open(self, registry: Registry, blob: BlobRecord, span: ByteRange) -> AbstractAsyncContextManager[BlobContent]:
        """Open bytes of a blob."""
        return self._storage.open(Location(registry.bucket, blob.key), span)
