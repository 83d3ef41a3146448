"""``slipway signing-key``: the keys that sign tokens."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from gateway import app
from gateway.cli.commands import configured
from gateway.cli.output import print_json

if TYPE_CHECKING:
    from gateway.config import Settings


@click.group("signing-key", short_help="Keys that sign tokens: list, rotate.")
def signing_key() -> None:
    """Keys that sign tokens: list, rotate; they change by themselves once a month."""


@signing_key.command("list")
@configured
def list_keys(settings: Settings, *, is_json: bool) -> None:
    """Show the keys that sign or still verify, oldest first."""
    _show(asyncio.run(app.commands.signing_keys(settings)), is_json=is_json)


@signing_key.command(short_help="Make a new key, which signs from one minute on.")
@configured
def rotate(settings: Settings, *, is_json: bool) -> None:
    """Make a new key, which signs from one minute on; tokens of the old ones are good until they expire."""
    _show(asyncio.run(app.commands.signing_keys(settings, rotate=True)), is_json=is_json)


def _show(keys: list[tuple[str, datetime, datetime | None]], *, is_json: bool) -> None:
    if is_json:
        print_json([{"id": key_id, "signs_from": begin, "verifies_until": end} for key_id, begin, end in keys])
        return
    for key_id, begin, end in keys:
        click.echo(
            f"{key_id}  signs from {_shown(begin)}, {f'verifies until {_shown(end)}' if end else 'is the newest'}"
        )


def _shown(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
