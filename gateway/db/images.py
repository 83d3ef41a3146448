"""Images, their tags and their manifests as people see them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gateway.db.audit import as_json, note_in_audit
from gateway.db.repositories import fetch_repository_id
from gateway.db.statements import statement
from gateway.errors import ChangedMeanwhile, ManifestUnknown, RepositoryUnknown
from gateway.model.digest import Digest
from gateway.model.images import ImageOrder, TagOrder
from gateway.ports.access import AuditEntry
from gateway.ports.images import ImageDetail, ImageRecord, ManifestFigures, Place, TagRecord

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import asyncpg

    from gateway.db.pool import Connection, Database
    from gateway.model.access import Actor
    from gateway.model.names import RepositoryName
    from gateway.ports.images import ImageChange
    from gateway.ports.metadata import Registry

_PAGE_IMAGES_BY_NAME = statement("page_images_by_name")
_PAGE_IMAGES_BY_CHANGED = statement("page_images_by_changed")
_PAGE_IMAGES_BY_PULLS = statement("page_images_by_pulls")
_DESCRIBE_IMAGES = statement("describe_images")
_FETCH_IMAGE = statement("fetch_image")
_MEASURE_IMAGE = statement("measure_image")
_LOCK_IMAGE_SETTINGS = statement("lock_image_settings")
_UPDATE_IMAGE = statement("update_image")
_PAGE_TAGS_BY_NAME = statement("page_tags_by_name")
_PAGE_TAGS_BY_PUSHED = statement("page_tags_by_pushed")
_PAGE_TAGS_BY_PULLED = statement("page_tags_by_pulled")
_DESCRIBE_TAGS = statement("describe_tags")
_PAGE_MANIFESTS = statement("page_manifests")
_PAGE_UNTAGGED_MANIFESTS = statement("page_untagged_manifests")
_DESCRIBE_MANIFESTS = statement("describe_manifests")
_MEASURE_MANIFESTS = statement("measure_manifests")
_FETCH_CONFIG_DIGESTS = statement("fetch_config_digests")
_RECORD_PLATFORMS = statement("record_platforms")

_MORE_THAN_ANY = 2**63 - 1
_FIRST = Place("", 0)
_LATEST = Place(datetime(9999, 1, 1, tzinfo=UTC), 0)

# What can be changed of an image, in the order of update_image.
_SETTINGS = ("short_description", "description", "tags_mutable", "untagged_days")

# How a page is found, and what comes before the first one.
_IMAGE_PAGES = {
    ImageOrder.NAME: (_PAGE_IMAGES_BY_NAME, _FIRST),
    ImageOrder.CHANGED: (_PAGE_IMAGES_BY_CHANGED, _LATEST),
    ImageOrder.PULLS: (_PAGE_IMAGES_BY_PULLS, Place(_MORE_THAN_ANY, 0)),
}
_TAG_PAGES = {
    TagOrder.NAME: (_PAGE_TAGS_BY_NAME, _FIRST),
    TagOrder.PUSHED: (_PAGE_TAGS_BY_PUSHED, _LATEST),
    TagOrder.PULLED: (_PAGE_TAGS_BY_PULLED, _LATEST),
}


class Images:
    """Implements ports.images.ImageIndex."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_images(
        self, registry: Registry, search: str, order: ImageOrder, after: Place | None, limit: int
    ) -> list[ImageRecord]:
        """See the port."""
        page, first = _IMAGE_PAGES[order]
        place = after or first
        return await self._images(await self._ids(page, registry.id, search.lower(), place.key, place.id, limit))

    async def fetch_image(self, registry: Registry, repository: RepositoryName) -> ImageDetail:
        """See the port."""
        row = await self._database.fetchrow(_FETCH_IMAGE, registry.id, str(repository))
        images = [] if row is None else await self._images([row["id"]])
        if row is None or not images:
            raise _unknown(repository)
        size = await self._database.fetch(_MEASURE_IMAGE, row["id"])
        return ImageDetail(
            images[0],
            row["description"],
            row["tags_mutable"],
            size[0][0],
            row["created_at"],
            row["version"],
            row["untagged_days"],
        )

    async def update_image(
        self,
        actor: Actor,
        registry: Registry,
        repository: RepositoryName,
        change: ImageChange,
        expected_version: int | None,
    ) -> None:
        """See the port."""

        async def work(connection: Connection) -> None:
            row = await connection.fetchrow(_LOCK_IMAGE_SETTINGS, registry.id, str(repository))
            if row is None:
                raise _unknown(repository)
            if expected_version not in {None, row["version"]}:
                raise ChangedMeanwhile(f"the image {repository} was changed since it was read: read it again")
            before = {name: row[name] for name in _SETTINGS}
            after: dict[str, Any] = {**before, **change}
            changed = [name for name in after if after[name] != before[name]]
            if not changed:
                return
            await connection.execute(_UPDATE_IMAGE, row["id"], *after.values())
            was, became = (as_json({name: values[name] for name in changed}) for values in (before, after))
            entry = AuditEntry("image.update", str(repository), registry.id, before=was, after=became)
            await note_in_audit(connection, actor, entry)

        await self._database.transact(work)

    async def list_tags(
        self,
        registry: Registry,
        repository: RepositoryName,
        search: str,
        order: TagOrder,
        after: Place | None,
        limit: int,
    ) -> list[TagRecord]:
        """See the port."""
        page, first = _TAG_PAGES[order]
        place = after or first
        repository_id = await self._repository_id(registry, repository)
        ids = await self._ids(page, repository_id, search.lower(), place.key, place.id, limit)
        rows = await self._database.fetch(_DESCRIBE_TAGS, ids)
        sizes = await self._measure([row["manifest_id"] for row in rows if row["size"] is None])
        return [TagRecord(**_measured(row, sizes, row["manifest_id"])) for row in rows]

    async def list_manifests(
        self, registry: Registry, repository: RepositoryName, before: int | None, limit: int, *, untagged: bool
    ) -> list[ManifestFigures]:
        """See the port."""
        page = _PAGE_UNTAGGED_MANIFESTS if untagged else _PAGE_MANIFESTS
        repository_id = await self._repository_id(registry, repository)
        last = _MORE_THAN_ANY if before is None else before
        return await self._figures(await self._ids(page, repository_id, last, limit))

    async def fetch_figures(self, manifest_id: int) -> ManifestFigures:
        """See the port."""
        found = await self._figures([manifest_id])
        if not found:
            raise ManifestUnknown("the manifest was purged a moment ago")
        return found[0]

    async def fetch_configs(self, manifest_ids: Sequence[int]) -> dict[int, Digest]:
        """See the port."""
        rows = await self._database.fetch(_FETCH_CONFIG_DIGESTS, manifest_ids)
        return {row["manifest_id"]: Digest.parse(row["digest"]) for row in rows}

    async def record_platforms(self, platforms: Mapping[int, Sequence[str]]) -> None:
        """See the port."""

        async def work(connection: Connection) -> None:
            ids = sorted(platforms)
            await connection.execute(_RECORD_PLATFORMS, ids, [",".join(platforms[each]) for each in ids])

        await self._database.transact(work)

    async def _images(self, ids: Sequence[int]) -> list[ImageRecord]:
        return [ImageRecord(**row) for row in await self._database.fetch(_DESCRIBE_IMAGES, ids)]

    async def _figures(self, ids: Sequence[int]) -> list[ManifestFigures]:
        rows = await self._database.fetch(_DESCRIBE_MANIFESTS, ids)
        sizes = await self._measure([row["id"] for row in rows if row["size"] is None])
        described = [_measured(row, sizes, row["id"]) for row in rows]
        return [ManifestFigures(manifest_id=each.pop("id"), tags=tuple(each.pop("tags")), **each) for each in described]

    async def _ids(self, page: str, *arguments: object) -> list[int]:
        return [row["id"] for row in await self._database.fetch(page, *arguments)]

    async def _repository_id(self, registry: Registry, repository: RepositoryName) -> int:
        found = await fetch_repository_id(self._database, registry, repository)
        if found is None:
            raise _unknown(repository)
        return found

    async def _measure(self, manifest_ids: Sequence[int]) -> dict[int, int]:
        """Measure manifests that are shown for the first time; in a transaction, since others may do it as well."""
        if not manifest_ids:
            return {}

        async def work(connection: Connection) -> dict[int, int]:
            rows = await connection.fetch(_MEASURE_MANIFESTS, sorted(set(manifest_ids)))
            return {row["id"]: row["size"] for row in rows}

        return await self._database.transact(work)


def _measured(row: asyncpg.Record, sizes: Mapping[int, int], manifest_id: int) -> dict[str, Any]:
    """Fill in a size that was not known, and make tuples of lists."""
    fields = dict(row)
    if fields["size"] is None:
        fields["size"] = sizes.get(manifest_id, 0)
    if fields["platforms"] is not None:
        fields["platforms"] = tuple(fields["platforms"])
    return fields


def _unknown(repository: RepositoryName) -> RepositoryUnknown:
    return RepositoryUnknown(f"there is no image {repository}")
