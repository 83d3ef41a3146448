"""``slipway serve``: run the registry."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway import app
from gateway.cli.greeting import greeting, root_key
from gateway.config import Address, load
from gateway.telemetry.logs import configure_logs

if TYPE_CHECKING:
    from gateway.app.service import Start


class _AddressType(click.ParamType[Address]):
    name = "host:port"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        try:
            return value if isinstance(value, Address) else Address.parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command(short_help="Run the registry.")
@click.option("--listen", type=_AddressType(), help="Address to listen on.  [default: 127.0.0.1:5000]")
@click.option("--workers", type=click.IntRange(min=1), help="Number of worker processes.  [default: the cores]")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder for file storage and embedded Postgres.")
@click.option("--open", "is_open", is_flag=True, help="Let anybody push and pull; on a loopback address only.")
@click.option("--config", type=click.Path(path_type=Path), help="TOML file with settings.")
def serve(
    listen: Address | None,
    workers: int | None,
    data_dir: Path | None,
    is_open: bool,  # noqa: FBT001
    config: Path | None,
) -> None:
    """Run the registry until SIGINT or SIGTERM; SIGHUP reads the settings again.

    Every setting can also be given in the TOML file or by an environment variable; see docs/configuration.md.
    """
    overrides = {"listen": listen, "workers": workers, "data_dir": data_dir, "open": is_open or None}
    configure_logs()
    app.service.serve(lambda: load(os.environ, config, overrides), _show_root, _greet)


def _show_root(start: Start, access_key_id: str, secret_key: str | None) -> None:
    click.echo(root_key(start, access_key_id, secret_key))


def _greet(start: Start) -> None:
    click.echo(greeting(start))
