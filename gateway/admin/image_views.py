"""From what is known of images to what the management API says of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from gateway.admin.image_forms import (
    Configuration,
    DescriptorView,
    HistoryStep,
    ImageView,
    ManifestSummary,
    ManifestView,
    ReferrerView,
    TagView,
)

if TYPE_CHECKING:
    from gateway.model.image_config import ImageConfig
    from gateway.model.manifest import Descriptor
    from gateway.ports.images import ImageDetail, ImageRecord, ManifestFigures, TagRecord
    from gateway.ports.metadata import Referrer
    from gateway.services.images import ManifestDetail


def summary_fields(record: ImageRecord) -> dict[str, Any]:
    """Return what an image's line in a list and its detail have in common."""
    return {
        "name": record.name,
        "short_description": record.short_description,
        "tags": record.tags,
        "changed_at": record.changed_at,
        "pulls": record.pulls,
        "last_pulled": record.last_pulled_at,
    }


def image_view(detail: ImageDetail) -> ImageView:
    """Show an image."""
    return ImageView(
        **summary_fields(detail.image),
        description=detail.description,
        tags_mutable=detail.tags_mutable,
        size=detail.size,
        created_at=detail.created_at,
        version=detail.version,
    )


def tag_view(record: TagRecord) -> TagView:
    """Show a tag."""
    return TagView(
        tag=record.name,
        digest=record.digest,
        media_type=record.media_type,
        kind=record.kind,
        platforms=list(record.platforms or ()),
        size=record.size,
        pushed_at=record.pushed_at,
        pushed_by=record.pushed_by,
        pulls=record.pulls,
        resolutions=record.resolutions,
        last_pulled=record.last_pulled_at,
    )


def manifest_summary(figures: ManifestFigures) -> ManifestSummary:
    """Show a manifest in a list."""
    return ManifestSummary(**_manifest_fields(figures))


def manifest_view(detail: ManifestDetail) -> ManifestView:
    """Show a manifest with everything in it."""
    manifest = detail.manifest
    return ManifestView(
        **_manifest_fields(detail.figures),
        artifact_type=manifest.artifact_type,
        annotations=manifest.annotations,
        subject=str(manifest.subject) if manifest.subject else None,
        config=_descriptor(manifest.config) if manifest.config else None,
        configuration=_configuration(detail.config) if detail.config else None,
        layers=[_descriptor(each) for each in manifest.layers],
        children=[_descriptor(each) for each in manifest.children],
        referrers=[_referrer(each) for each in detail.referrers],
        pulls=detail.figures.pulls,
        last_pulled=detail.figures.last_pulled_at,
    )


def _manifest_fields(figures: ManifestFigures) -> dict[str, Any]:
    return {
        "digest": figures.digest,
        "media_type": figures.media_type,
        "kind": figures.kind,
        "platforms": list(figures.platforms or ()),
        "size": figures.size,
        "pushed_at": figures.pushed_at,
        "pushed_by": figures.pushed_by,
        "tags": list(figures.tags),
    }


def _descriptor(descriptor: Descriptor) -> DescriptorView:
    return DescriptorView(
        digest=str(descriptor.digest),
        media_type=descriptor.media_type,
        size=descriptor.size,
        platform=descriptor.platform,
    )


def _referrer(referrer: Referrer) -> ReferrerView:
    return ReferrerView(
        digest=referrer.digest,
        media_type=referrer.media_type,
        artifact_type=referrer.artifact_type,
        size=referrer.size,
        annotations=orjson.loads(referrer.annotations),
    )


def _configuration(config: ImageConfig) -> Configuration:
    return Configuration(
        platform=config.platform or "",
        created_at=config.created_at,
        author=config.author,
        user=config.user,
        working_dir=config.working_dir,
        entrypoint=list(config.entrypoint),
        command=list(config.command),
        environment=list(config.environment),
        exposed_ports=list(config.exposed_ports),
        labels=config.labels,
        history=[
            HistoryStep(
                created_at=each.created_at, created_by=each.created_by, comment=each.comment, is_empty=each.is_empty
            )
            for each in config.history
        ],
    )
