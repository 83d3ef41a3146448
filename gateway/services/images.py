"""Images as they are managed: what lists and details show, descriptions, deletions and their undoing.

Who may do what is the caller's to settle.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from gateway.errors import BlobUnknown, ManifestUnknown, ObjectDamaged, ObjectMissing, StorageUnavailable, ValueRefused
from gateway.model.digest import Digest
from gateway.model.image_config import LARGEST_CONFIG, ImageConfig
from gateway.model.manifest import Manifest
from gateway.model.ranges import ByteRange
from gateway.ports.images import ManifestFigures, TagRecord
from gateway.ports.storage import Location
from gateway.services.verify import pieces

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from gateway.model.access import Actor
    from gateway.model.images import ImageOrder, TagOrder
    from gateway.model.names import Reference, RepositoryName
    from gateway.ports.images import (
        Deletion,
        DeletionIndex,
        ImageChange,
        ImageDetail,
        ImageIndex,
        ImageRecord,
        Place,
        Restored,
    )
    from gateway.ports.metadata import BlobIndex, BlobRecord, ManifestRecord, Referrer, Registry
    from gateway.ports.storage import BlobStorage
    from gateway.services.manifests import Manifests

R = TypeVar("R", TagRecord, ManifestFigures)

_log = logging.getLogger(__name__)
_CONFIGS_AT_A_TIME = 8
_UNREADABLE = (BlobUnknown, ObjectMissing, ObjectDamaged, StorageUnavailable)


@dataclass(frozen=True, slots=True)
class ManifestDetail:
    """A manifest with everything in it."""

    figures: ManifestFigures
    manifest: Manifest
    config: ImageConfig | None
    """Of an image; None where it cannot be read."""
    referrers: Sequence[Referrer]


@dataclass(frozen=True, slots=True)
class Restorable:
    """A deletion, and until when it can be undone."""

    deletion: Deletion
    until: datetime


class Images:
    """Shows, describes, deletes and restores images."""

    def __init__(
        self,
        index: ImageIndex,
        deletions: DeletionIndex,
        manifests: Manifests,
        blobs: BlobIndex,
        storage: BlobStorage,
        *,
        restore_days: int,
    ) -> None:
        """Manage images; what was deleted in the last ``restore_days`` can be restored."""
        self._index = index
        self._deletions = deletions
        self._manifests = manifests
        self._blobs = blobs
        self._storage = storage
        self.restore_days = restore_days
        self._reading = asyncio.Semaphore(_CONFIGS_AT_A_TIME)

    async def list(
        self, registry: Registry, search: str, order: ImageOrder, after: Place | None, limit: int
    ) -> Sequence[ImageRecord]:
        """Return images whose names contain ``search``, behind a place."""
        return await self._index.list_images(registry, search, order, after, limit)

    async def get(self, registry: Registry, repository: RepositoryName) -> ImageDetail:
        """Return an image; raises RepositoryUnknown."""
        return await self._index.fetch_image(registry, repository)

    async def update(
        self,
        actor: Actor,
        registry: Registry,
        repository: RepositoryName,
        change: ImageChange,
        expected_version: int | None,
    ) -> ImageDetail:
        """Change descriptions and settings; raises RepositoryUnknown, ChangedMeanwhile and ValueRefused."""
        for field, text in change.items():
            if isinstance(text, str) and "\0" in text:
                raise ValueRefused("a description has no NUL characters", field)
        await self._index.update_image(actor, registry, repository, change, expected_version)
        return await self.get(registry, repository)

    async def delete(self, actor: Actor, registry: Registry, repository: RepositoryName) -> None:
        """Delete an image with its tags and manifests; raises RepositoryUnknown."""
        await self._deletions.delete_image(actor, registry, repository)

    async def delete_reference(
        self, actor: Actor, registry: Registry, repository: RepositoryName, reference: Reference
    ) -> None:
        """Delete a tag, or a manifest with its tags; raises ManifestUnknown or StillReferenced."""
        await self._manifests.delete(registry, repository, reference, actor)

    async def deleted(self, registry: Registry, before: int | None, limit: int) -> Sequence[Restorable]:
        """Return what can be restored, with ids below ``before``, the latest first."""
        found = await self._deletions.list_deletions(registry, self.restore_days, before, limit)
        days = timedelta(days=self.restore_days)
        return [Restorable(each, each.deleted_at + days) for each in found]

    async def restore(self, actor: Actor, registry: Registry, deletion_id: int) -> Restored:
        """Undo a deletion; raises NothingKnown or CannotRestore."""
        return await self._deletions.restore(actor, registry, deletion_id, self.restore_days)

    async def tags(
        self,
        registry: Registry,
        repository: RepositoryName,
        search: str,
        order: TagOrder,
        after: Place | None,
        limit: int,
    ) -> Sequence[TagRecord]:
        """Return tags whose names contain ``search``, behind a place; raises RepositoryUnknown."""
        found = await self._index.list_tags(registry, repository, search, order, after, limit)
        return await self._with_platforms(registry, repository, found)

    async def manifests(
        self, registry: Registry, repository: RepositoryName, before: int | None, limit: int, *, untagged: bool
    ) -> Sequence[ManifestFigures]:
        """Return manifests with ids below ``before``, the last pushed first; raises RepositoryUnknown."""
        found = await self._index.list_manifests(registry, repository, before, limit, untagged=untagged)
        return await self._with_platforms(registry, repository, found)

    async def manifest(self, registry: Registry, repository: RepositoryName, digest: Digest) -> ManifestDetail:
        """Return a manifest with everything in it; raises ManifestUnknown."""
        record = await self._manifests.find(registry, repository, digest)
        manifest = await self._content(record)
        (figures,) = await self._with_platforms(registry, repository, [await self._index.fetch_figures(record.id)])
        referrers, _ = await self._manifests.referrers(registry, repository, digest, (), "")
        config = None
        if manifest.kind == "image" and manifest.config is not None:
            config = await self._config(registry, repository, manifest.config.digest)
        return ManifestDetail(figures, manifest, config, referrers)

    async def _content(self, record: ManifestRecord) -> Manifest:
        return Manifest.parse(await self._manifests.content(record), record.media_type)

    async def _with_platforms(
        self, registry: Registry, repository: RepositoryName, records: Sequence[R]
    ) -> Sequence[R]:
        """Find out where manifests run that are shown for the first time, and remember it."""
        unknown = {each.manifest_id: each for each in records if each.platforms is None}
        if not unknown:
            return records
        found = await self._platforms(registry, repository, unknown.values())
        await self._index.record_platforms(found)
        return [replace(each, platforms=tuple(found.get(each.manifest_id, each.platforms or ()))) for each in records]

    async def _platforms(
        self, registry: Registry, repository: RepositoryName, records: Iterable[TagRecord | ManifestFigures]
    ) -> dict[int, Sequence[str]]:
        """Read where manifests run; those whose config cannot be read now are left out."""
        images = [each for each in records if each.kind == "image"]
        configs = await self._index.fetch_configs([each.manifest_id for each in images])
        read = await asyncio.gather(*(self._config(registry, repository, each) for each in configs.values()))
        found: dict[int, Sequence[str]] = {
            manifest_id: [config.platform] if config.platform else []
            for manifest_id, config in zip(configs, read, strict=True)
            if config is not None
        }
        for each in records:
            if each.kind != "image":
                # Pushed by a program that did not write it down.
                with suppress(ManifestUnknown):
                    record = await self._manifests.find(registry, repository, Digest.parse(each.digest))
                    found[each.manifest_id] = (await self._content(record)).platforms or []
        return found

    async def _config(self, registry: Registry, repository: RepositoryName, digest: Digest) -> ImageConfig | None:
        """Read an image's config; None when that is impossible now. One that is too large says nothing."""
        async with self._reading:
            try:
                blob = await self._blobs.fetch_blob(registry, repository, digest)
                raw = await self._read(registry, blob) if 0 < blob.size <= LARGEST_CONFIG else b""
            except _UNREADABLE as error:
                _log.warning("the config %s of %s cannot be read: %s", digest, repository, error)
                return None
        return ImageConfig.parse(raw)

    async def _read(self, registry: Registry, blob: BlobRecord) -> bytes:
        async with self._storage.open(Location(registry.bucket, blob.key), ByteRange(0, blob.size)) as content:
            raw = b"".join([bytes(piece) async for piece in pieces(content)])
        if Digest.of(raw, blob.digest.algorithm) != blob.digest:
            raise ObjectDamaged(f"the object of {blob.digest} has another content")
        return raw
