"""From what is known of images to what the management API says of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from gateway.admin.image_forms import (
    Configuration,
    DeletedView,
    DescriptorView,
    HistoryStep,
    ImageView,
    ManifestSummary,
    ManifestView,
    ReferrerView,
    RestoredView,
    TagView,
)
from gateway.model.images import DeletedKind, RestoreOutcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.model.image_config import ImageConfig
    from gateway.model.manifest import Descriptor
    from gateway.ports.images import ImageDetail, ImageRecord, ManifestFigures, Restored, TagRecord
    from gateway.ports.metadata import Referrer
    from gateway.services.images import ManifestDetail, Restorable


_MOST_NAMES = 10


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
        untagged_days=detail.untagged_days,
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


def deleted_view(restorable: Restorable) -> DeletedView:
    """Show something that was deleted."""
    deletion = restorable.deletion
    return DeletedView(
        id=deletion.id,
        kind=deletion.kind,
        image=deletion.image,
        tag=deletion.tag,
        digest=deletion.digest,
        deleted_at=deletion.deleted_at,
        deleted_by=deletion.deleted_by,
        restorable_until=restorable.until,
    )


def restored_view(restored: Restored) -> RestoredView:
    """Say what came back, and how."""
    return RestoredView(
        outcome=restored.outcome,
        image=restored.image,
        tag=restored.tag,
        digest=restored.digest,
        left_out=list(restored.left_out),
        message=_sentence(restored),
    )


def _some(names: Sequence[str]) -> str:
    """Name as many as people read."""
    rest = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {rest} more" if rest > 0 else "")


def _sentence(restored: Restored) -> str:
    left_out = f" Left out, because there are such tags: {_some(restored.left_out)}." if restored.left_out else ""
    if restored.outcome is RestoreOutcome.JOINED:
        return f"There is another image {restored.image} meanwhile: what was deleted is in it now.{left_out}"
    if restored.outcome is RestoreOutcome.UNTAGGED:
        return f"The manifest {restored.digest} of {restored.image} is back without its tag.{left_out}"
    name = f"image {restored.image}"
    if restored.kind is DeletedKind.TAG:
        name = f"tag {restored.tag} of {restored.image}"
    elif restored.kind is DeletedKind.MANIFEST:
        name = f"manifest {restored.digest} of {restored.image}"
    return f"The {name} is back.{left_out}"
