"""Manifests, tags, and lists of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.errors import TooManyTags
from gateway.model.digest import Digest
from gateway.model.manifest import LARGEST_MANIFEST, Manifest
from gateway.services.contents import ContentCache
from gateway.services.verify import check_digest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.model.access import Actor
    from gateway.model.names import Reference, RepositoryName, Tag
    from gateway.ports.metadata import ManifestIndex, ManifestRecord, Referrer, Registry
    from gateway.ports.observing import Lookups

MOST_TAGS = 50
"""Tags that one manifest push may set; the specification asks for 10 at least."""

LARGEST_PAGE = 10_000
"""Entries of one page of a list; more are on the next."""

_REFERRERS_AT_A_TIME = 1_000
_CACHED_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Page:
    """A page of names, and whether more come behind it."""

    names: list[str]
    more: bool


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a manifest push came to."""

    digest: Digest
    subject: Digest | None


class Manifests:
    """Manifests and tags of repositories."""

    def __init__(self, index: ManifestIndex, *, cached_bytes: int = _CACHED_BYTES) -> None:
        self._index = index
        self._cache = ContentCache(cached_bytes)

    @property
    def lookups(self) -> Lookups:
        """How often contents were in memory, of those that do not come along with what is known of a manifest."""
        return self._cache.lookups

    async def find(self, registry: Registry, repository: RepositoryName, reference: Reference) -> ManifestRecord:
        """Return what is known of a manifest by tag or digest (end-3); raise ManifestUnknown."""
        return await self._index.fetch_manifest(registry, repository, reference)

    async def content(self, manifest: ManifestRecord) -> bytes:
        """Return the bytes of a manifest that was just found."""
        raw = manifest.raw or self._cache.get(manifest.digest)
        if raw is None:
            raw = await self._index.fetch_manifest_content(manifest)
            self._cache.add(manifest.digest, raw)
        return raw

    async def put(
        self,
        registry: Registry,
        repository: RepositoryName,
        raw: bytes,
        content_type: str,
        *,
        digest: Digest | None,
        tags: Sequence[Tag],
        actor: Actor,
    ) -> Pushed:
        """Check and store a manifest and point tags at it (end-7).

        With ``digest`` the bytes must have it; without, they are stored under their SHA-256.
        """
        if len(tags) > MOST_TAGS:
            raise TooManyTags(f"a manifest push may set at most {MOST_TAGS} tags; push it again with the others")
        manifest = Manifest.parse(raw, content_type)
        found = Digest.of(raw, digest.algorithm if digest else "sha256")
        check_digest(found, digest or found)
        await self._index.put_manifest(registry, repository, manifest, found, tags, actor)
        return Pushed(found, manifest.subject)

    async def delete(self, registry: Registry, repository: RepositoryName, reference: Reference, actor: Actor) -> None:
        """Delete a tag, or a manifest with all its tags (end-9)."""
        if isinstance(reference, Digest):
            await self._index.delete_manifest(registry, repository, reference, actor)
        else:
            await self._index.delete_tag(registry, repository, reference, actor)

    async def tags(self, registry: Registry, repository: RepositoryName, last: str, limit: int | None) -> Page:
        """Return a page of tags (end-8)."""
        wanted = _page_size(limit)
        return _page(await self._index.list_tags(registry, repository, last, wanted + 1), wanted)

    async def repositories(self, registry: Registry, last: str, limit: int | None) -> Page:
        """Return a page of the catalog."""
        wanted = _page_size(limit)
        return _page(await self._index.list_repositories(registry, last, wanted + 1), wanted)

    async def referrers(
        self, registry: Registry, repository: RepositoryName, subject: Digest, artifact_types: Sequence[str], last: str
    ) -> tuple[list[Referrer], bool]:
        """Return manifests that refer to a subject (end-12), and whether more come behind them."""
        wanted = _REFERRERS_AT_A_TIME
        found = await self._index.list_referrers(
            registry, repository, subject, artifact_types, last, wanted + 1, LARGEST_MANIFEST
        )
        return found[:wanted], len(found) > wanted


def _page_size(limit: int | None) -> int:
    return LARGEST_PAGE if limit is None else min(limit, LARGEST_PAGE)


def _page(names: list[str], size: int) -> Page:
    return Page(names[:size], more=size > 0 and len(names) > size)
