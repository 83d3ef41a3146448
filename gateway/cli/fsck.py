"""``slipway fsck``: compare buckets with the database, and repair what can be repaired."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import click

from gateway import app
from gateway.cli.commands import configured
from gateway.cli.output import binary_size, counted, measured, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from gateway.config import Settings
    from gateway.model.surveys import Broken, Orphan, Survey

_FOUND_SOMETHING = 1
_NOT_ALL = 2
_TAGS_SHOWN = 10


class _Bars:
    """Progress on the terminal."""

    def counting(self, doing: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        return counted(doing, total)

    def reading(self, doing: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        return measured(doing, total)


@click.command(short_help="Compare buckets with the database, both ways.")
@click.argument("registries", nargs=-1, metavar="[REGISTRY]...")
@click.option("--verify", is_flag=True, help="Read every blob again; goes on where an interrupted reading stopped.")
@click.option("--repair", is_flag=True, help="Withdraw missing and damaged blobs, so that they are pushed again.")
@click.option("--orphans", is_flag=True, help="With --repair: remove from the bucket what no row names.")
@configured
def fsck(
    settings: Settings,
    *,
    registries: Sequence[str],
    verify: bool,
    repair: bool,
    orphans: bool,
    is_json: bool,
) -> None:
    """Compare the buckets of registries, or of all, with the database, both ways, while they are being served.

    The exit code is 0 when nothing is orphaned, missing or damaged, and 2 when something could not be asked. See
    docs/fsck.md.
    """
    if orphans and not repair:
        raise click.UsageError("--orphans removes things: it goes with --repair")
    order = app.commands.SurveyOrder(verify=verify, repair=repair, orphans=orphans)
    surveys = asyncio.run(app.commands.survey(settings, registries, order, _Bars()))
    counts = {
        "orphans": sum(len(each.orphans) for each in surveys),
        "missing": sum(len(each.missing) for each in surveys),
        "damaged": sum(len(each.damaged) for each in surveys),
    }
    if is_json:
        print_json({**counts, "registries": surveys})
    else:
        _print(surveys, counts)
    if any(each.failure for each in surveys):
        sys.exit(_NOT_ALL)
    if any(counts.values()):
        sys.exit(_FOUND_SOMETHING)


def _print(surveys: Sequence[Survey], counts: dict[str, int]) -> None:
    for survey in surveys:
        read = f", {survey.verified} read again" if survey.verified else ""
        click.echo(f"registry {survey.registry}, bucket {survey.bucket}: {survey.objects} blobs{read}")
        for note in survey.notes:
            click.echo(f"note: {note}")
        broken = [("missing", each) for each in survey.missing] + [("damaged", each) for each in survey.damaged]
        if broken:
            columns = ("result", "digest", "size", "reason", "affects", "done")
            print_table(columns, [_broken(result, each) for result, each in broken], "")
        if survey.orphans:
            print_table(("orphan", "size", "since", "done"), [_orphan(each) for each in survey.orphans], "")
        if survey.failure:
            click.echo(f"that is not all of {survey.registry}: {survey.failure}", err=True)
    click.echo(", ".join(f"{count} {what}" for what, count in counts.items()))


def _broken(result: str, broken: Broken) -> tuple[object, ...]:
    affected = broken.affected
    names = [*(affected.tags or affected.manifests or affected.repositories)]
    more = [f"and {len(names) - _TAGS_SHOWN} more"] if len(names) > _TAGS_SHOWN else []
    shown = [*names[:_TAGS_SHOWN], *more]
    return result, broken.digest, binary_size(broken.size), broken.reason, shown, broken.done


def _orphan(orphan: Orphan) -> tuple[object, ...]:
    size = "multipart upload" if orphan.size is None else binary_size(orphan.size)
    return orphan.key, size, f"{orphan.since.astimezone():%Y-%m-%d %H:%M:%S}", orphan.done
