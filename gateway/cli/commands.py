"""What all commands have in common: where they work, how they ask before something is lost, and how they print."""

from __future__ import annotations

import os
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway import app
from gateway.cli import clients
from gateway.cli.clients import Refused
from gateway.cli.output import counted, print_fields, print_json, reported
from gateway.config import URL_VARIABLE, load

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from gateway.cli.clients import Client
    from gateway.config import Settings

_URL = click.option("--url", help=f"Console host of a running server, instead of this machine.  [env: {URL_VARIABLE}]")
_DATA_DIR = click.option(
    "--data-dir", type=click.Path(path_type=Path), help="Folder of file storage and embedded Postgres."
)
_CONFIG = click.option("--config", type=click.Path(path_type=Path), help="TOML file with settings.")
_JSON = click.option("--json", "is_json", is_flag=True, help="Print JSON.")

sure = click.option("--yes", "is_sure", is_flag=True, help="Do not ask.")
"""The option of everything that deletes."""


class Session:
    """A command's way to the management API, and to its user."""

    def __init__(self, client: Client, *, is_json: bool) -> None:
        self.api = client
        self.is_json = is_json

    def read_list(self, path: str, limit: int | None = None, **query: str | None) -> list[Any]:
        """Read a list, up to ``limit`` entries, and show how far it is."""
        items: list[Any] = []
        with counted("Reading", limit) as advance:
            for page in self.api.pages(path, limit, **query):
                items += page
                advance(len(page))
        return items

    def print_list(self, found: list[dict[str, Any]], columns: Sequence[str], empty: str) -> None:
        """Print some fields of each entry of a list, or what to say when there are none; all of them as JSON."""
        if self.is_json:
            print_json(found)
        else:
            print_fields(found, columns, empty)

    def delete(self, things: Mapping[str, str], question: str, said: str, *, is_sure: bool, **query: str) -> None:
        """Ask, delete things by their names and addresses, and say of each ``said`` with its ``{name}``.

        One that is refused does not keep the others; in the end all refusals are raised together.
        """
        if not is_sure:
            click.confirm(question, abort=True, err=True)
        deleted, refusals = [], []
        with counted("Deleting", len(things)) as advance:
            for name, path in things.items():
                try:
                    self.api.delete(path, **query)
                    deleted.append(name)
                except Refused as refusal:
                    refusals.append(str(refusal))
                advance(1)
        if self.is_json and deleted:
            print_json({"deleted": deleted})
        elif deleted:
            click.echo("\n".join(said.format(name=name) for name in deleted))
        if refusals:
            raise Refused("; ".join(refusals))


def configured(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the settings of this machine's installation, as first argument, and ``is_json``."""

    @wraps(command)
    def run(*, data_dir: Path | None, config: Path | None, **options: Any) -> None:
        command(_settings(data_dir, config), **options)

    return _DATA_DIR(_CONFIG(_JSON(run)))


def managing(
    command: Callable[..., None], begins: Callable[[Mapping[str, Any]], bool] = lambda _: False
) -> Callable[..., None]:
    """Give a command its session, as first argument; ``begins`` tells by its options if it may make an installation."""

    @wraps(command)
    def run(
        *,
        url: str | None,
        data_dir: Path | None,
        config: Path | None,
        is_json: bool,
        **options: Any,
    ) -> None:
        with reported() as report, _client(url, data_dir, config, report, begins=begins(options)) as client:
            command(Session(client, is_json=is_json), **options)

    return _URL(_DATA_DIR(_CONFIG(_JSON(run))))


def switches(**given: Any) -> dict[str, Any]:
    """Return the options that were given."""
    return {name: value for name, value in given.items() if value is not None}


def _client(
    url: str | None,
    data_dir: Path | None,
    config: Path | None,
    report: Callable[[str, int, int], None],
    *,
    begins: bool,
) -> AbstractContextManager[Client]:
    if url and (data_dir or config):
        raise click.UsageError("--url manages another machine's installation: leave --data-dir and --config out")
    # What is said on the command line is stronger than the environment.
    if data_dir is None and config is None:
        url = url or os.environ.get(URL_VARIABLE)
    if url:
        return clients.remote(url)
    return clients.local(app.commands.managing(_settings(data_dir, config), report, begins=begins))


def _settings(data_dir: Path | None, config: Path | None) -> Settings:
    return load(os.environ, config, {"data_dir": data_dir})
