"""Pages of images: those of a registry, one with its tags and manifests, and everything in a manifest."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gateway.admin import images as api
from gateway.admin import pulls as pulls_api
from gateway.admin.image_forms import ImageQuery, ManifestQuery, TagQuery
from gateway.console.charts import HEIGHT, chart_days
from gateway.console.markdown import render_markdown
from gateway.console.registries import find_registry, host_of, hosts_of
from gateway.console.visits import address
from gateway.model.images import ImageOrder, TagOrder

if TYPE_CHECKING:
    from gateway.admin.image_forms import ImageView
    from gateway.admin.registries import RegistryView
    from gateway.console.visits import Reply, Visit

PAGE = "50"
"""Entries of a page."""

_DAYS_OF_CHART = 90


@dataclass(frozen=True, slots=True)
class Place:
    """The registry that a page is about, and what the visitor may do there."""

    registry: RegistryView
    number: int
    """Of the registry, in the database."""
    may_manage: bool
    host: str | None
    """For commands of clients; None where no host leads to the registry."""
    restore_days: int

    def at(self, *parts: str) -> str:
        """Return the address of one of its pages."""
        return address("registries", self.registry.name, *parts)

    def pull_command(self, image: str, reference: str) -> str:
        """Return what gets an image by a tag or a digest; nothing where no host leads to it."""
        joint = "@" if ":" in reference else ":"
        return f"docker pull {self.host}/{image}{joint}{reference}" if self.host else ""

    def values(self, tab: str = "images") -> dict[str, Any]:
        """Return what the templates of all these pages use."""
        return {"place": self, "nav_registry": self.registry.name, "tab": tab}


async def find_place(visit: Visit) -> Place:
    """Return the registry of an address; raises NothingKnown."""
    registry, number = await find_registry(visit)
    return Place(
        registry=registry,
        number=number,
        may_manage=visit.caller.may_manage(number),
        host=host_of(visit, registry),
        restore_days=visit.services.images.restore_days,
    )


async def find_managed_place(visit: Visit) -> Place:
    """Return the registry of an address, for pages that make sense to its managers only; raises Forbidden too."""
    place = await find_place(visit)
    visit.caller.require_management(place.number, place.registry.name)
    return place


async def show_images(visit: Visit) -> Reply:
    """List a registry's images; where there are none, say how to push the first."""
    place = await find_place(visit)
    query = visit.page_query(ImageQuery, "search", "sort", limit=PAGE)
    page = await visit.ask(api.list_images, query=query)
    hosts = hosts_of(visit, place.registry)
    return visit.page(
        "images/list.html", page=page, query=query, orders=list(ImageOrder), hosts=hosts, **place.values()
    )


async def show_tags(visit: Visit) -> Reply:
    """Show an image with its tags, the last pushed first unless another order is asked for."""
    order = visit.asked("sort") or TagOrder.PUSHED
    query = visit.page_query(TagQuery, "search", sort=order, limit=PAGE)
    page = await visit.ask(api.list_tags, query=query)
    return await _show_image(visit, "tags", page=page, query=query, orders=list(TagOrder))


async def show_untagged(visit: Visit) -> Reply:
    """Show an image with the manifests that can be pulled by digest only."""
    query = visit.page_query(ManifestQuery, untagged="true", limit=PAGE)
    page = await visit.ask(api.list_manifests, query=query)
    return await _show_image(visit, "untagged", page=page, query=query)


async def show_details(visit: Visit) -> Reply:
    """Show an image with its settings."""
    return await _show_image(visit, "details")


async def show_manifest(visit: Visit) -> Reply:
    """Show everything in a manifest."""
    place = await find_place(visit)
    manifest = await visit.ask(api.get_manifest)
    name = visit.variables["repository"]
    reference = manifest.tags[0] if manifest.tags else manifest.digest
    return visit.page(
        "images/manifest.html",
        name=name,
        manifest=manifest,
        command=place.pull_command(name, reference),
        **place.values(),
    )


async def _show_image(visit: Visit, part: str, **values: Any) -> Reply:
    place = await find_place(visit)
    image = await visit.ask(api.get_image)
    days = await visit.ask(pulls_api.list_days, query=pulls_api.DaysQuery(days=_DAYS_OF_CHART))
    history = [(each.day, each.count) for each in days]
    return visit.page(
        f"images/{part}.html",
        image=image,
        part=part,
        parts=_parts(place, image),
        description=await asyncio.to_thread(render_markdown, image.description),
        chart=chart_days(history, datetime.now(UTC).date(), _DAYS_OF_CHART),
        chart_height=HEIGHT,
        command=await _usual_command(visit, place, image),
        **place.values(),
        **values,
    )


def _parts(place: Place, image: ImageView) -> list[tuple[str, str]]:
    """Return the pages of an image, which are shown as tabs, and their addresses."""
    whole = place.at("images", image.name)
    return [("tags", whole), ("untagged", f"{whole}/untagged"), ("details", f"{whole}/details")]


async def _usual_command(visit: Visit, place: Place, image: ImageView) -> str:
    """Return what gets the tag that was pushed last; nothing for an image without tags."""
    latest = await visit.ask(api.list_tags, query=TagQuery(sort=TagOrder.PUSHED, limit=1, cursor=None))
    return place.pull_command(image.name, latest.items[0].tag) if latest.items else ""
