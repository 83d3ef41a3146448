"""``slipway gc``: collect what nothing needs now, say what would go, or why something is kept."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from gateway import app
from gateway.cli.commands import configured
from gateway.cli.output import binary_size, counted, print_facts, print_json, print_table
from gateway.errors import DigestInvalid
from gateway.model.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.config import Settings
    from gateway.model.collection import Cleaned, Reason

_NOT_ALL = 1
_NAMES = {
    "uploads": "abandoned uploads",
    "untagged": "manifests deleted now, without a tag",
    "manifests": "deleted manifests",
    "tags": "deleted tags",
    "images": "deleted images",
    "repository_blobs": "blobs of images",
    "blobs": "blobs that no image has any more",
    "bytes": "their size",
}
_DONE = {
    "removed_objects": "objects removed from the storage",
    "freed_bytes": "blobs among them",
    "failures": "failures",
}


@click.command(short_help="Collect now what nothing needs.")
@click.option("--registry", metavar="NAME", help="Only this one.  [default: all]")
@click.option(
    "--grace",
    type=click.IntRange(min=0),
    metavar="SECONDS",
    help="Keep blobs without a manifest, and what was deleted, for so long only.  [default: as configured]",
)
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--why", metavar="DIGEST", help="Only say what keeps a blob or manifest.")
@configured
def gc(
    settings: Settings, *, registry: str | None, grace: int | None, dry_run: bool, why: str | None, is_json: bool
) -> None:
    """Collect what nothing needs now, instead of with the next round; the installation may be running.

    With --grace, blobs whose manifest is still to be pushed may go, and what was deleted cannot be restored. The exit
    code is 1 when something had to be left.
    """
    if dry_run and why:
        raise click.UsageError("--dry-run and --why exclude each other")
    kept = None if grace is None else timedelta(seconds=grace)
    if why is not None:
        _print_reasons(asyncio.run(_explain(settings, kept, registry, _digest(why))), why, is_json=is_json)
    elif dry_run:
        _print(asyncio.run(_estimate(settings, kept, registry)), "This would go:", _NAMES, is_json=is_json)
    else:
        cleaned = asyncio.run(_clean(settings, kept, registry))
        _print(cleaned, "This has gone:", _NAMES | _DONE, is_json=is_json)
        if cleaned.failures or cleaned.objections:
            sys.exit(_NOT_ALL)


async def _clean(settings: Settings, grace: timedelta | None, registry: str | None) -> Cleaned:
    async with app.commands.cleaning(settings, grace) as cleaner:
        with counted("Collecting", None) as advance:
            return await cleaner.clean(registry, advance)


async def _estimate(settings: Settings, grace: timedelta | None, registry: str | None) -> Cleaned:
    async with app.commands.cleaning(settings, grace) as cleaner:
        return await cleaner.estimate(registry)


async def _explain(
    settings: Settings, grace: timedelta | None, registry: str | None, digest: Digest
) -> Sequence[Reason]:
    async with app.commands.cleaning(settings, grace) as cleaner:
        return await cleaner.explain(registry, digest)


def _digest(text: str) -> Digest:
    try:
        return Digest.parse(text)
    except DigestInvalid as error:
        raise click.UsageError(f"--why: {error}") from error


def _print(cleaned: Cleaned, title: str, names: Mapping[str, str], *, is_json: bool) -> None:
    figures = asdict(cleaned)
    figures = {**figures.pop("collected"), **figures}
    if is_json:
        print_json(figures)
        return
    click.echo(title)
    sizes = {name: binary_size(figures[name]) for name in ("bytes", "freed_bytes")}
    print_facts((name, (figures | sizes)[field]) for field, name in names.items())
    for each in cleaned.objections:
        click.echo(each, err=True)


def _print_reasons(reasons: Sequence[Reason], digest: str, *, is_json: bool) -> None:
    if is_json:
        print_json(reasons)
        return
    rows = [
        (
            f"{each.registry}/{each.repository}",
            " -> ".join(f"{link.kind} {link.name}" for link in each.chain),
            f"{each.until.astimezone():%Y-%m-%d %H:%M:%S}" if each.until else "",
        )
        for each in reasons
    ]
    nothing = f"Nothing has {digest}. An upload is known by its digest only when it is finished."
    print_table(("image", "kept by", "until"), rows, nothing)
