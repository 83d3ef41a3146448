"""``slipway signing-key``: the keys that sign tokens."""

from __future__ import annotations

import asyncio
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway import app
from gateway.config import load

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.config import Settings

_CONFIG = click.option("--config", type=click.Path(path_type=Path), help="TOML file with settings.")
_DATA_DIR = click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of the embedded Postgres.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("signing-key")
def signing_key() -> None:
    """List and change the keys that sign tokens; they change by themselves once a month."""


def _options(command: Callable[..., None]) -> Callable[..., None]:
    return _CONFIG(_DATA_DIR(_JSON(command)))


@signing_key.command("list")
@_options
def list_keys(config: Path | None, data_dir: Path | None, *, as_json: bool) -> None:
    """Show the keys that sign or still verify, oldest first."""
    _show(asyncio.run(app.signing_keys(_settings(config, data_dir))), as_json=as_json)


@signing_key.command()
@_options
def rotate(config: Path | None, data_dir: Path | None, *, as_json: bool) -> None:
    """Make a new key, which signs from one minute on; tokens of the old ones are good until they expire."""
    _show(asyncio.run(app.signing_keys(_settings(config, data_dir), rotate=True)), as_json=as_json)


def _settings(config: Path | None, data_dir: Path | None) -> Settings:
    return load(os.environ, config, {"data_dir": data_dir})


def _show(keys: list[tuple[str, datetime, datetime | None]], *, as_json: bool) -> None:
    if as_json:
        entries = [
            {"id": key_id, "signs_from": begin.isoformat(), "verifies_until": end.isoformat() if end else None}
            for key_id, begin, end in keys
        ]
        click.echo(json.dumps(entries))
        return
    for key_id, begin, end in keys:
        click.echo(f"{key_id}  signs from {_shown(begin)}, verifies {f'until {_shown(end)}' if end else 'on'}")


def _shown(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
