"""``slipway tag``: tags of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gateway.cli.clients import address
from gateway.cli.commands import managing, sure
from gateway.cli.images import delete_restorable
from gateway.model.images import TagOrder

if TYPE_CHECKING:
    from gateway.cli.commands import Session

_COLUMNS = ("tag", "digest", "platforms", "size", "pushed_at", "pushed_by", "pulls", "last_pulled")


@click.group()
def tag() -> None:
    """Tags: list, delete."""


@tag.command(name="list")
@click.argument("registry")
@click.argument("image")
@click.option("--search", help="Only those whose name contains this.")
@click.option(
    "--sort",
    type=click.Choice([order.value for order in TagOrder]),
    help="By what; what was pushed or pulled last comes first.",
)
@click.option("--limit", type=click.IntRange(min=1), help="How many at most.  [default: all]")
@managing
def list_(session: Session, registry: str, image: str, limit: int | None, **query: str | None) -> None:
    """List the tags of an image."""
    found = session.read_list(address("registries", registry, "images", image, "tags"), limit, **query)
    session.print_list(found, _COLUMNS, "No such tags.")


@tag.command(short_help="Delete tags, not what they point at.")
@click.argument("registry")
@click.argument("image")
@click.argument("tags", metavar="TAG...", nargs=-1, required=True)
@sure
@managing
def delete(session: Session, registry: str, image: str, tags: tuple[str, ...], is_sure: bool) -> None:  # noqa: FBT001
    """Delete tags, not what they point at; for a while this can be undone."""
    things = {f"{image}:{each}": address("registries", registry, "images", image, "tags", each) for each in tags}
    question = f"This deletes {', '.join(things)} from {registry}; it can be undone for a while. Go on?"
    delete_restorable(session, registry, things, question, is_sure=is_sure)
