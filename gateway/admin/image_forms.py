"""What the management API says of images: the forms of their operations (admin/images.py)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field

from gateway.admin.forms import Page, PageQuery, Patch, View
from gateway.model.images import DeletedKind, ImageOrder, RestoreOutcome, TagOrder

LONGEST_SHORT_DESCRIPTION = 100
LONGEST_DESCRIPTION = 64 * 1024
MOST_UNTAGGED_DAYS = 36500
_LONGEST_SEARCH = 255

_Search = Annotated[str, Field(max_length=_LONGEST_SEARCH, description="A part of the name; empty is all.")]
_Size = Annotated[int, Field(description="Bytes as they are stored, compressed: config and layers, each once.")]
_Platforms = Annotated[list[str], Field(description="For instance linux/amd64 or linux/arm/v7.")]


class ImageQuery(PageQuery):
    """Which images are wanted."""

    search: _Search = ""
    sort: ImageOrder = Field(ImageOrder.NAME, description="By name, the last changed first, or the most pulled first.")


class TagQuery(PageQuery):
    """Which tags are wanted."""

    search: _Search = ""
    sort: TagOrder = TagOrder.NAME


class ImageSummary(View):
    """An image in a list."""

    name: str
    short_description: str
    tags: int = Field(description="How many.")
    changed_at: datetime = Field(description="Of the last push, deletion or new description.")
    pulls: int
    last_pulled: datetime | None


class ImagePage(Page[ImageSummary]):
    """Images of a registry."""


class ImageView(ImageSummary):
    """An image."""

    description: str = Field(description="Markdown.")
    tags_mutable: bool = Field(description="Whether a tag that exists may be pointed at another manifest.")
    untagged_days: int | None = Field(
        description="Days after which a manifest without a tag is deleted; null keeps it for ever."
    )
    size: _Size
    created_at: datetime
    version: int = Field(description="Counts changes of descriptions and settings; the ETag.")


class ImagePatch(Patch):
    """New descriptions and settings of an image."""

    short_description: str = Field("", max_length=LONGEST_SHORT_DESCRIPTION)
    description: str = Field("", max_length=LONGEST_DESCRIPTION, description="Markdown.")
    tags_mutable: bool = True
    untagged_days: int | None = Field(
        None,
        ge=1,
        le=MOST_UNTAGGED_DAYS,
        description="Days after the last push, pull or loss of a tag; null keeps manifests without a tag for ever.",
    )


class TagView(View):
    """A tag."""

    tag: str
    digest: str
    media_type: str
    kind: str = Field(description="image, index, artifact, attestation, signature or cache.")
    platforms: _Platforms
    size: _Size
    pushed_at: datetime
    pushed_by: str | None = Field(description="The account; null is nobody in particular.")
    pulls: int = Field(description="Of the image that it points at; of an index, the sum of its images.")
    resolutions: int
    last_pulled: datetime | None


class TagPage(Page[TagView]):
    """Tags of an image."""


class DescriptorView(View):
    """Content that a manifest names."""

    digest: str
    media_type: str
    size: int
    platform: str | None = None


class ReferrerView(View):
    """A manifest that refers to this one: a signature, an SBOM, an attestation."""

    digest: str
    media_type: str
    artifact_type: str | None
    size: int
    annotations: dict[str, str]


class HistoryStep(View):
    """How one layer, or none, came about."""

    created_at: str | None = Field(description="As the builder wrote it.")
    created_by: str
    comment: str
    is_empty: bool = Field(description="Whether it made no layer.")


class Configuration(View):
    """What an image's config says."""

    platform: str
    created_at: str | None = Field(description="As the builder wrote it.")
    author: str
    user: str
    working_dir: str
    entrypoint: list[str]
    command: list[str]
    environment: list[str]
    exposed_ports: list[str]
    labels: dict[str, str]
    history: list[HistoryStep]


class ManifestSummary(View):
    """A manifest in a list."""

    digest: str
    media_type: str
    kind: str
    platforms: _Platforms
    size: _Size
    pushed_at: datetime
    pushed_by: str | None
    tags: list[str]


class ManifestPage(Page[ManifestSummary]):
    """Manifests of an image, the last pushed first."""


class ManifestQuery(PageQuery):
    """Which manifests are wanted."""

    untagged: bool = Field(False, description="Only those without a tag that no index lists.")


class ManifestView(ManifestSummary):
    """A manifest with everything in it."""

    artifact_type: str | None
    annotations: dict[str, str]
    subject: str | None = Field(description="Digest of the manifest that it refers to.")
    config: DescriptorView | None
    configuration: Configuration | None = Field(description="Of an image; null where it cannot be read.")
    layers: list[DescriptorView]
    children: list[DescriptorView] = Field(description="What an index lists.")
    referrers: list[ReferrerView]
    pulls: int
    last_pulled: datetime | None


class DeletedView(View):
    """Something that was deleted, and can be restored."""

    id: int
    kind: DeletedKind
    image: str
    tag: str | None
    digest: str | None
    deleted_at: datetime
    deleted_by: str | None
    restorable_until: datetime


class DeletedPage(Page[DeletedView]):
    """What was deleted in a registry, the latest first."""


class RestoredView(View):
    """What came back, and how."""

    outcome: RestoreOutcome
    image: str
    tag: str | None
    digest: str | None
    left_out: list[str] = Field(description="Tags that stay away, because their names are taken.")
    message: str = Field(description="What happened, in a sentence.")
