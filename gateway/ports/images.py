"""The port of managing images: what lists and details show, descriptions, deletions and their undoing.

As with the metadata port, every method is one transaction, and raises DatabaseUnavailable when the database cannot be
reached. A method that takes an actor commits a line of the audit log together with the change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypedDict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from gateway.model.access import Actor
    from gateway.model.digest import Digest
    from gateway.model.images import DeletedKind, ImageOrder, RestoreOutcome, TagOrder
    from gateway.model.names import RepositoryName
    from gateway.ports.metadata import Registry


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page ends: what its last entry is sorted by, and its id."""

    key: str | int | datetime
    id: int


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """An image in a list."""

    id: int
    name: str
    short_description: str
    tags: int
    changed_at: datetime
    pulls: int
    last_pulled_at: datetime | None


@dataclass(frozen=True, slots=True)
class ImageDetail:
    """An image with its settings."""

    image: ImageRecord
    description: str
    tags_mutable: bool
    size: int
    """Bytes of the blobs that its manifests need, each once."""
    created_at: datetime
    version: int
    untagged_days: int | None = None
    """After how many days a manifest without a tag is deleted; None keeps it for ever."""


class ImageChange(TypedDict, total=False):
    """What is to become of an image; what is left out stays as it is."""

    short_description: str
    description: str
    tags_mutable: bool
    untagged_days: int | None


@dataclass(frozen=True, slots=True)
class TagRecord:
    """A tag, and what is known of its manifest."""

    id: int
    name: str
    manifest_id: int
    digest: str
    media_type: str
    kind: str
    platforms: tuple[str, ...] | None
    """None is not known yet."""
    size: int
    pushed_at: datetime
    pushed_by: str | None
    pulls: int
    resolutions: int
    last_pulled_at: datetime | None


@dataclass(frozen=True, slots=True)
class ManifestFigures:
    """A manifest in a list."""

    manifest_id: int
    digest: str
    media_type: str
    kind: str
    platforms: tuple[str, ...] | None
    """None is not known yet."""
    size: int
    pushed_at: datetime
    pushed_by: str | None
    tags: tuple[str, ...]
    pulls: int
    last_pulled_at: datetime | None


@dataclass(frozen=True, slots=True)
class Deletion:
    """Something that was deleted."""

    id: int
    kind: DeletedKind
    image: str
    tag: str | None
    digest: str | None
    deleted_at: datetime
    deleted_by: str


@dataclass(frozen=True, slots=True)
class Restored:
    """What came back, and how."""

    outcome: RestoreOutcome
    kind: DeletedKind
    image: str
    tag: str | None
    digest: str | None
    left_out: tuple[str, ...]
    """Tags whose names are taken."""


class ImageIndex(Protocol):
    """Images as they are shown and described."""

    async def list_images(
        self, registry: Registry, search: str, order: ImageOrder, after: Place | None, limit: int
    ) -> Sequence[ImageRecord]:
        """Return images with a manifest whose names contain ``search``, whatever its case, behind a place."""
        ...

    async def fetch_image(self, registry: Registry, repository: RepositoryName) -> ImageDetail:
        """Return an image; raise RepositoryUnknown."""
        ...

    async def update_image(
        self,
        actor: Actor,
        registry: Registry,
        repository: RepositoryName,
        change: ImageChange,
        expected_version: int | None,
    ) -> None:
        """Change an image's descriptions and settings; raise RepositoryUnknown or ChangedMeanwhile."""
        ...

    async def list_tags(
        self,
        registry: Registry,
        repository: RepositoryName,
        search: str,
        order: TagOrder,
        after: Place | None,
        limit: int,
    ) -> Sequence[TagRecord]:
        """Return tags whose names contain ``search``, whatever its case, behind a place; raise RepositoryUnknown."""
        ...

    async def list_manifests(
        self, registry: Registry, repository: RepositoryName, before: int | None, limit: int, *, untagged: bool
    ) -> Sequence[ManifestFigures]:
        """Return manifests with ids below ``before``, the last pushed first; raise RepositoryUnknown."""
        ...

    async def fetch_figures(self, manifest_id: int) -> ManifestFigures:
        """Return what is known of a manifest; raise ManifestUnknown."""
        ...

    async def fetch_configs(self, manifest_ids: Sequence[int]) -> Mapping[int, Digest]:
        """Return the digest of each manifest's config; those without one are left out."""
        ...

    async def record_platforms(self, platforms: Mapping[int, Sequence[str]]) -> None:
        """Remember where manifests run."""
        ...


class DeletionIndex(Protocol):
    """Deleting images, and bringing back what was deleted."""

    async def delete_image(self, actor: Actor, registry: Registry, repository: RepositoryName) -> None:
        """Delete an image with its tags and manifests; its name is free then. Raise RepositoryUnknown."""
        ...

    async def list_deletions(self, registry: Registry, days: int, before: int | None, limit: int) -> Sequence[Deletion]:
        """Return deletions of the last days that can be undone, with ids below ``before``, the latest first.

        What was deleted from an image that is deleted itself can be undone once the image is back.
        """
        ...

    async def restore(self, actor: Actor, registry: Registry, deletion_id: int, days: int) -> Restored:
        """Undo a deletion of the last days.

        A tag whose name is taken stays away, and its manifest comes back without it; an image whose name is taken
        joins the living one. Raises NothingKnown, and CannotRestore when something that is needed is gone.
        """
        ...
