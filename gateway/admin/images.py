"""Images, their tags and their manifests."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from gateway.admin.forms import Nothing, PageQuery
from gateway.admin.image_forms import (
    DeletedPage,
    ImagePage,
    ImagePatch,
    ImageQuery,
    ImageSummary,
    ImageView,
    ManifestPage,
    ManifestQuery,
    ManifestView,
    RestoredView,
    TagPage,
    TagQuery,
)
from gateway.admin.image_views import (
    deleted_view,
    image_view,
    manifest_summary,
    manifest_view,
    restored_view,
    summary_fields,
    tag_view,
)
from gateway.admin.operations import AnyOperation, Call, Operation
from gateway.admin.places import decode_number, decode_place, encode_number, encode_place
from gateway.admin.registries import visible_registry
from gateway.errors import (
    CannotRestore,
    DigestInvalid,
    Forbidden,
    ManifestUnknown,
    NameInvalid,
    NothingKnown,
    ReferenceInvalid,
    RepositoryUnknown,
    StillReferenced,
)
from gateway.model.digest import Digest
from gateway.model.images import ImageOrder, TagOrder
from gateway.model.names import RepositoryName, Tag
from gateway.ports.images import ImageChange

if TYPE_CHECKING:
    from datetime import datetime

    from gateway.ports.images import ImageRecord, TagRecord
    from gateway.ports.metadata import Registry

_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)
_IMAGE = "/api/registries/{registry}/images/{repository}"


async def list_images(call: Call[ImageQuery, Nothing]) -> ImagePage:
    """List a registry's images."""
    registry, query = (await visible_registry(call)).registry, call.query
    place = decode_place(query.cursor, query.sort)
    found = await call.services.images.list(registry, query.search, query.sort, place, query.limit + 1)
    page = found[: query.limit]
    after = _after_image(query.sort, page[-1]) if len(found) > len(page) else None
    return ImagePage(items=[ImageSummary(**summary_fields(each)) for each in page], next=after)


async def get_image(call: Call[Nothing, Nothing]) -> ImageView:
    """Show an image."""
    registry, repository = await _visible_image(call)
    return image_view(await call.services.images.get(registry, repository))


async def update_image(call: Call[Nothing, ImagePatch]) -> ImageView:
    """Change descriptions and settings of an image."""
    registry, repository = await _managed_image(call)
    return image_view(
        await call.services.images.update(
            call.caller.actor, registry, repository, _change(call.body), call.expected_version
        )
    )


async def delete_image(call: Call[Nothing, Nothing]) -> None:
    """Delete an image with its tags and manifests."""
    registry, repository = await _managed_image(call)
    await call.services.images.delete(call.caller.actor, registry, repository)


async def list_tags(call: Call[TagQuery, Nothing]) -> TagPage:
    """List an image's tags."""
    registry, repository = await _visible_image(call)
    query = call.query
    place = decode_place(query.cursor, query.sort)
    found = await call.services.images.tags(registry, repository, query.search, query.sort, place, query.limit + 1)
    page = found[: query.limit]
    after = _after_tag(query.sort, page[-1]) if len(found) > len(page) else None
    return TagPage(items=[tag_view(each) for each in page], next=after)


async def delete_tag(call: Call[Nothing, Nothing]) -> None:
    """Delete a tag."""
    registry, repository = await _managed_image(call)
    await call.services.images.delete_reference(call.caller.actor, registry, repository, _tag(call))


async def list_manifests(call: Call[ManifestQuery, Nothing]) -> ManifestPage:
    """List an image's manifests."""
    registry, repository = await _visible_image(call)
    limit = call.query.limit
    found = await call.services.images.manifests(
        registry, repository, decode_number(call.query.cursor), limit + 1, untagged=call.query.untagged
    )
    page = found[:limit]
    after = encode_number(page[-1].manifest_id) if len(found) > len(page) else None
    return ManifestPage(items=[manifest_summary(each) for each in page], next=after)


async def get_manifest(call: Call[Nothing, Nothing]) -> ManifestView:
    """Show a manifest with everything in it."""
    registry, repository = await _visible_image(call)
    return manifest_view(await call.services.images.manifest(registry, repository, _digest(call)))


async def delete_manifest(call: Call[Nothing, Nothing]) -> None:
    """Delete a manifest with its tags."""
    registry, repository = await _managed_image(call)
    await call.services.images.delete_reference(call.caller.actor, registry, repository, _digest(call))


async def list_deleted(call: Call[PageQuery, Nothing]) -> DeletedPage:
    """List what was deleted in a registry and can be restored."""
    registry, limit = (await visible_registry(call)).registry, call.query.limit
    found = await call.services.images.deleted(registry, decode_number(call.query.cursor), limit + 1)
    page = found[:limit]
    after = encode_number(page[-1].deletion.id) if len(found) > len(page) else None
    return DeletedPage(items=[deleted_view(each) for each in page], next=after)


async def restore(call: Call[Nothing, Nothing]) -> RestoredView:
    """Bring back what was deleted."""
    registry, text = await _managed_registry(call), call.variables["deletion"]
    if not _NUMBER.fullmatch(text):
        raise NothingKnown(f"nothing was deleted with the number {text}")
    return restored_view(await call.services.images.restore(call.caller.actor, registry, int(text)))


def _after_image(order: ImageOrder, last: ImageRecord) -> str:
    keys: dict[ImageOrder, str | int | datetime] = {
        ImageOrder.NAME: last.name,
        ImageOrder.CHANGED: last.changed_at,
        ImageOrder.PULLS: last.pulls,
    }
    return encode_place(order, keys[order], last.id)


def _after_tag(order: TagOrder, last: TagRecord) -> str:
    keys: dict[TagOrder, str | datetime | None] = {
        TagOrder.NAME: last.name,
        TagOrder.PUSHED: last.pushed_at,
        TagOrder.PULLED: last.last_pulled_at,
    }
    return encode_place(order, keys[order], last.id)


async def _visible_image(call: Call[Any, Any]) -> tuple[Registry, RepositoryName]:
    """Return what an address names; raises NothingKnown."""
    return (await visible_registry(call)).registry, _repository(call)


async def _managed_image(call: Call[Any, Any]) -> tuple[Registry, RepositoryName]:
    """Return what an address names, if the caller may change it; raises NothingKnown or Forbidden."""
    return await _managed_registry(call), _repository(call)


async def _managed_registry(call: Call[Any, Any]) -> Registry:
    found = await visible_registry(call)
    call.caller.require_management(found.registry.id, found.name)
    return found.registry


def _repository(call: Call[Any, Any]) -> RepositoryName:
    name = call.variables["repository"]
    try:
        return RepositoryName.parse(name)
    except NameInvalid as error:
        raise NothingKnown(f"there is no image {name}") from error


def _digest(call: Call[Any, Any]) -> Digest:
    text = call.variables["digest"]
    try:
        return Digest.parse(text)
    except DigestInvalid as error:
        raise NothingKnown(f"there is no manifest {text}") from error


def _tag(call: Call[Any, Any]) -> Tag:
    text = call.variables["tag"]
    try:
        return Tag.parse(text)
    except ReferenceInvalid as error:
        raise NothingKnown(f"there is no tag {text}") from error


def _change(patch: ImagePatch) -> ImageChange:
    change = ImageChange()
    if patch.has("short_description"):
        change["short_description"] = patch.short_description
    if patch.has("description"):
        change["description"] = patch.description
    if patch.has("tags_mutable"):
        change["tags_mutable"] = patch.tags_mutable
    if patch.has("untagged_days"):
        change["untagged_days"] = patch.untagged_days
    return change


OPERATIONS: tuple[AnyOperation, ...] = (
    Operation(
        name="listImages",
        method="GET",
        path="/api/registries/{registry}/images",
        summary="List a registry's images",
        handle=list_images,
        query=ImageQuery,
        body=Nothing,
        answer=ImagePage,
        errors=(NothingKnown,),
    ),
    Operation(
        name="getImage",
        method="GET",
        path=_IMAGE,
        summary="Show an image",
        handle=get_image,
        query=Nothing,
        body=Nothing,
        answer=ImageView,
        errors=(NothingKnown, RepositoryUnknown),
    ),
    Operation(
        name="updateImage",
        method="PATCH",
        path=_IMAGE,
        summary="Change descriptions and settings of an image; what is left out stays as it is",
        handle=update_image,
        query=Nothing,
        body=ImagePatch,
        answer=ImageView,
        errors=(Forbidden, NothingKnown, RepositoryUnknown),
        is_conditional=True,
    ),
    Operation(
        name="deleteImage",
        method="DELETE",
        path=_IMAGE,
        summary="Delete an image with its tags and manifests; it can be restored for some days",
        handle=delete_image,
        query=Nothing,
        body=Nothing,
        answer=None,
        status=HTTPStatus.NO_CONTENT,
        errors=(Forbidden, NothingKnown, RepositoryUnknown),
    ),
    Operation(
        name="listTags",
        method="GET",
        path=f"{_IMAGE}/tags",
        summary="List an image's tags",
        handle=list_tags,
        query=TagQuery,
        body=Nothing,
        answer=TagPage,
        errors=(NothingKnown, RepositoryUnknown),
    ),
    Operation(
        name="deleteTag",
        method="DELETE",
        path=f"{_IMAGE}/tags/{{tag}}",
        summary="Delete a tag; its manifest stays",
        handle=delete_tag,
        query=Nothing,
        body=Nothing,
        answer=None,
        status=HTTPStatus.NO_CONTENT,
        errors=(Forbidden, NothingKnown, ManifestUnknown),
    ),
    Operation(
        name="listManifests",
        method="GET",
        path=f"{_IMAGE}/manifests",
        summary="List an image's manifests, the last pushed first",
        handle=list_manifests,
        query=ManifestQuery,
        body=Nothing,
        answer=ManifestPage,
        errors=(NothingKnown, RepositoryUnknown),
    ),
    Operation(
        name="getManifest",
        method="GET",
        path=f"{_IMAGE}/manifests/{{digest}}",
        summary="Show a manifest with its layers, configuration and referrers",
        handle=get_manifest,
        query=Nothing,
        body=Nothing,
        answer=ManifestView,
        errors=(NothingKnown, ManifestUnknown),
    ),
    Operation(
        name="deleteManifest",
        method="DELETE",
        path=f"{_IMAGE}/manifests/{{digest}}",
        summary="Delete a manifest with its tags",
        handle=delete_manifest,
        query=Nothing,
        body=Nothing,
        answer=None,
        status=HTTPStatus.NO_CONTENT,
        errors=(Forbidden, NothingKnown, ManifestUnknown, StillReferenced),
    ),
    Operation(
        name="listDeleted",
        method="GET",
        path="/api/registries/{registry}/deleted",
        summary="List what was deleted and can be restored, the latest first",
        handle=list_deleted,
        query=PageQuery,
        body=Nothing,
        answer=DeletedPage,
        errors=(NothingKnown,),
    ),
    Operation(
        name="restore",
        method="POST",
        path="/api/registries/{registry}/deleted/{deletion}/restore",
        summary="Bring back what was deleted; what is taken meanwhile is left to whoever has it",
        handle=restore,
        query=Nothing,
        body=Nothing,
        answer=RestoredView,
        errors=(Forbidden, NothingKnown, CannotRestore),
    ),
)
