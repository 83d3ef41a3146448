"""``slipway pulls``: how often images were pulled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gateway.cli.clients import address
from gateway.cli.commands import managing
from gateway.cli.output import local_time, print_json, print_table

if TYPE_CHECKING:
    from gateway.cli.commands import Session


@click.command(short_help="Show how often images were pulled.")
@click.argument("registry")
@click.argument("repository", required=False)
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="How many images at most.")
@click.option("--days", type=click.IntRange(min=1, max=3660), default=90, show_default=True, help="Days of history.")
@managing
def pulls(session: Session, registry: str, repository: str | None, limit: int, days: int) -> None:
    """Show how often images were pulled, the most pulled first, or one image with its tags and its history."""
    if repository is None:
        found = session.read_list(address("registries", registry, "pulls"), limit)
    else:
        found = [session.api.get(address("registries", registry, "pulls", repository), days=str(days))]
    if session.is_json:
        print_json(found)
        return
    rows = [[each["repository"], each["pulls"], local_time(each["last_pulled"])] for each in found]
    print_table(("image", "pulls", "last pulled"), rows, "Nothing was pushed yet.")
    if repository is not None:
        (image,) = found
        tags = [[t["tag"], t["pulls"], t["resolutions"], local_time(t["last_pulled"])] for t in image["tags"]]
        print_table(("tag", "pulls", "resolutions", "last pulled"), tags, "The image has no tags.")
        history = [[each["day"][:10], each["count"]] for each in image["history"]]
        print_table(("day (UTC)", "pulls"), history, f"Not pulled within {days} days.")
