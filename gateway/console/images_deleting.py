"""Deleting images, tags and manifests, each after a question; and restoring what was deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.admin import images as api
from gateway.admin.forms import PageQuery
from gateway.console.images import PAGE, find_managed_place, find_place
from gateway.errors import NothingKnown, RepositoryUnknown, ValueRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.admin.image_forms import RestoredView
    from gateway.console.images import Place
    from gateway.console.visits import Reply, Visit

_MOST_NAMED = 20


async def delete_selected(visit: Visit) -> Reply:
    """Ask whether the selected images are meant, and delete them once that was said."""
    place = await find_managed_place(visit)
    names = visit.all_sent("image")
    if not names:
        raise ValueRefused(visit.texts("images.none_selected"), "image")
    if not visit.sent("confirmed"):
        kind = "image" if len(names) == 1 else "images"
        back, action = place.at("images"), place.at("delete-images")
        return _question(visit, place, kind, back, action, name=names[0], names=names)
    deleted = [name for name in names if await _delete_one(visit, name)]
    if len(names) == 1:
        return visit.go(place.at("images"), "image_deleted", name=names[0])
    return visit.go(place.at("images"), "images_deleted", name=str(len(deleted)))


async def ask_image(visit: Visit) -> Reply:
    """Ask whether an image is to be deleted."""
    place = await find_managed_place(visit)
    image = await visit.ask(api.get_image)
    back = place.at("images", image.name)
    return _question(visit, place, "image", f"{back}/details", f"{back}/delete", name=image.name)


async def delete_image(visit: Visit) -> Reply:
    """Delete an image."""
    await visit.ask(api.delete_image)
    place = await find_place(visit)
    return visit.go(place.at("images"), "image_deleted", name=visit.variables["repository"])


async def ask_tag(visit: Visit) -> Reply:
    """Ask whether a tag is to be deleted."""
    place, name, tag = await find_managed_place(visit), visit.variables["repository"], visit.variables["tag"]
    back = place.at("images", name)
    return _question(visit, place, "tag", back, place.at("images", name, "tags", tag, "delete"), name=f"{name}:{tag}")


async def delete_tag(visit: Visit) -> Reply:
    """Delete a tag; what it points at stays."""
    await visit.ask(api.delete_tag)
    place, name = await find_place(visit), visit.variables["repository"]
    return visit.go(place.at("images", name), "tag_deleted", name=f"{name}:{visit.variables['tag']}")


async def ask_manifest(visit: Visit) -> Reply:
    """Ask whether a manifest is to be deleted."""
    place, name = await find_managed_place(visit), visit.variables["repository"]
    manifest = await visit.ask(api.get_manifest)
    back = place.at("images", name, "manifests", manifest.digest)
    kind = "tagged" if manifest.tags else "manifest"
    return _question(visit, place, kind, back, f"{back}/delete", name=_shortened(manifest.tags))


async def delete_manifest(visit: Visit) -> Reply:
    """Delete a manifest and the tags that point at it; an image goes with its last manifest."""
    await visit.ask(api.delete_manifest)
    place, name = await find_place(visit), visit.variables["repository"]
    try:
        await visit.ask(api.get_image)
    except RepositoryUnknown:
        return visit.go(place.at("images"), "manifest_deleted")
    return visit.go(place.at("images", name), "manifest_deleted")


async def show_deleted(visit: Visit) -> Reply:
    """List what was deleted lately."""
    place = await find_place(visit)
    page = await visit.ask(api.list_deleted, query=visit.page_query(PageQuery, limit=PAGE))
    return visit.page("images/deleted.html", page=page, **place.values("deleted"))


async def restore(visit: Visit) -> Reply:
    """Bring back what was deleted, and say how it came back."""
    restored = await visit.ask(api.restore)
    place = await find_place(visit)
    said, name = f"restored_{restored.outcome.value}", _name_of(restored)
    if restored.left_out:
        said, name = f"{said}_without", _shortened(restored.left_out)
    return visit.go(place.at("deleted"), said, name=name)


def _question(
    visit: Visit, place: Place, kind: str, back: str, action: str, *, name: str = "", names: Sequence[str] = ()
) -> Reply:
    """Ask; ``kind`` chooses the words, ``back`` is where nothing has happened."""
    return visit.page(
        "images/question.html",
        question=visit.texts(f"images.ask.{kind}", name=name, count=len(names)),
        note=visit.texts(f"images.ask.{kind}_note", name=name),
        names=names,
        back=back,
        action=action,
        **place.values(),
    )


async def _delete_one(visit: Visit, name: str) -> bool:
    """Delete an image; whether it was there, since somebody else may have been faster."""
    try:
        await visit.ask(api.delete_image, repository=name)
    except (NothingKnown, RepositoryUnknown):
        return False
    return True


def _name_of(restored: RestoredView) -> str:
    if restored.tag is not None:
        return f"{restored.image}:{restored.tag}"
    return f"{restored.image}@{restored.digest}" if restored.digest is not None else restored.image


def _shortened(tags: Sequence[str]) -> str:
    """Return a list of names that a sentence can hold."""
    return ", ".join([*tags[:_MOST_NAMED], *(["…"] if len(tags) > _MOST_NAMED else [])])
