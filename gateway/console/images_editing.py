"""Forms that change an image: its descriptions, with a preview, what its tags may do, and how long manifests stay."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gateway.admin import images as api
from gateway.admin.image_forms import LONGEST_DESCRIPTION, LONGEST_SHORT_DESCRIPTION, ImagePatch
from gateway.console.images import find_managed_place
from gateway.console.markdown import render_markdown
from gateway.console.registries import sent_version
from gateway.errors import ChangedMeanwhile

if TYPE_CHECKING:
    from gateway.admin.image_forms import ImageView
    from gateway.console.visits import Reply, Visit

_MOST_DIGITS = 10


@dataclass(frozen=True, slots=True)
class _Draft:
    """What stands in the form."""

    short_description: str
    description: str
    version: int | None
    """Of the image that it was filled in for."""


async def show_editor(visit: Visit) -> Reply:
    """Show the form for an image's descriptions, and again with what was sent when that was refused."""
    image = await visit.ask(api.get_image)
    if visit.failure is None:
        return await _editor(visit, image, _Draft(image.short_description, image.description, image.version))
    if isinstance(visit.failure, ChangedMeanwhile):
        # The page says it better than the error. Whoever saves again has seen what that replaces.
        calm = replace(visit, failure=None)
        return await _editor(calm, image, _sent_draft(visit, image.version), theirs=image)
    return await _editor(visit, image, _sent_draft(visit, sent_version(visit)))


async def save(visit: Visit) -> Reply:
    """Save an image's descriptions."""
    draft = _sent_draft(visit, sent_version(visit))
    patch = visit.body(ImagePatch, short_description=draft.short_description, description=draft.description)
    image = await visit.ask(api.update_image, body=patch, version=draft.version)
    place = await find_managed_place(visit)
    return visit.go(place.at("images", image.name), "description_saved")


async def preview(visit: Visit) -> Reply:
    """Show the form again, with what its text will look like; nothing is saved."""
    image = await visit.ask(api.get_image)
    draft = _sent_draft(visit, sent_version(visit))
    return await _editor(visit, image, draft, previewed=draft.description[:LONGEST_DESCRIPTION])


async def change_mutability(visit: Visit) -> Reply:
    """Let tags that exist move, or protect them."""
    wanted = visit.sent("tags_mutable") == "yes"
    image = await visit.ask(api.update_image, body=visit.body(ImagePatch, tags_mutable=wanted))
    place = await find_managed_place(visit)
    said = "tags_mutable" if image.tags_mutable else "tags_protected"
    return visit.go(place.at("images", image.name, "details"), said, name=image.name)


async def change_untagged_days(visit: Visit) -> Reply:
    """Say for how long manifests without a tag are kept; nothing is for ever."""
    text = visit.sent("untagged_days")
    # What is no number, or far too large, is refused as the text that it is.
    wanted = int(text) if text.isascii() and text.isdigit() and len(text) < _MOST_DIGITS else text or None
    image = await visit.ask(api.update_image, body=visit.body(ImagePatch, untagged_days=wanted))
    place = await find_managed_place(visit)
    said = "untagged_kept" if image.untagged_days is None else "untagged_deleted"
    return visit.go(place.at("images", image.name, "details"), said, name=image.name)


async def _editor(
    visit: Visit, image: ImageView, draft: _Draft, *, theirs: ImageView | None = None, previewed: str | None = None
) -> Reply:
    place = await find_managed_place(visit)
    rendered = None if previewed is None else await asyncio.to_thread(render_markdown, previewed)
    return visit.page(
        "images/edit.html",
        image=image,
        draft=draft,
        theirs=theirs,
        preview=rendered,
        most_short=LONGEST_SHORT_DESCRIPTION,
        **place.values(),
    )


def _sent_draft(visit: Visit, version: int | None) -> _Draft:
    # Not stripped as other fields are: four spaces begin a block of code. Browsers send lines as HTTP ends them.
    description = next((text for name, text in visit.fields if name == "description"), "").replace("\r\n", "\n")
    return _Draft(visit.sent("short_description"), description, version)
