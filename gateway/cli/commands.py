"""What all commands that manage things have in common: where they manage, and how they print."""

from __future__ import annotations

import os
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway import app
from gateway.cli import clients
from gateway.config import URL_VARIABLE, load

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from gateway.cli.clients import Client

_OPTIONS = (
    click.option("--url", help=f"Console host of a running server, instead of this machine.  [env: {URL_VARIABLE}]"),
    click.option("--data-dir", type=click.Path(path_type=Path), help="Folder of the embedded Postgres."),
    click.option("--config", type=click.Path(path_type=Path), help="TOML file with settings."),
    click.option("--json", "is_json", is_flag=True, help="Print JSON."),
)


class Session:
    """A command's way to the management API, and to its user."""

    def __init__(self, client: Client, *, is_json: bool) -> None:
        self.api = client
        self.is_json = is_json


def managing(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command its session, as first argument, by the options that all of them have."""

    @wraps(command)
    def run(
        *,
        url: str | None,
        data_dir: Path | None,
        config: Path | None,
        is_json: bool,
        **options: Any,
    ) -> None:
        with _client(url, data_dir, config) as client:
            command(Session(client, is_json=is_json), **options)

    for option in reversed(_OPTIONS):
        run = option(run)
    return run


def confirmed(question: str, *, is_sure: bool) -> None:
    """Ask before something is lost; ends the command unless the answer is yes."""
    if not is_sure:
        click.confirm(question, abort=True, err=True)


def switches(**given: Any) -> dict[str, Any]:
    """Return the options that were given."""
    return {name: value for name, value in given.items() if value is not None}


def _client(url: str | None, data_dir: Path | None, config: Path | None) -> AbstractContextManager[Client]:
    if url and (data_dir or config):
        raise click.UsageError("--url manages another machine's installation: leave --data-dir and --config out")
    # What is said on the command line is stronger than the environment.
    if data_dir is None and config is None:
        url = url or os.environ.get(URL_VARIABLE)
    if url:
        return clients.remote(url)
    return clients.local(app.managing(load(os.environ, config, {"data_dir": data_dir})))
