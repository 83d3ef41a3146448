"""``slipway serve``: run the registry."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from gateway import app
from gateway.config import Address, Settings, load
from gateway.errors import ConfigurationError
from gateway.telemetry.logs import configure_logs

_WELCOME = """\
Slipway serves at http://{address} (open to everybody on this machine; stop it with Ctrl-C)

Try it from another terminal:

  docker pull alpine
  docker tag  alpine {address}/hello/alpine
  docker push {address}/hello/alpine
  docker pull {address}/hello/alpine
"""


class _AddressType(click.ParamType[Address]):
    name = "host:port"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        try:
            return value if isinstance(value, Address) else Address.parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command()
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
    app.serve(lambda: _read_settings(config, overrides), _greet)


def _read_settings(config: Path | None, overrides: dict[str, Any]) -> Settings:
    settings = load(os.environ, config, overrides)
    if not settings.open:
        raise ConfigurationError(
            "this version has no accounts yet: add --open to let everybody on this machine push and pull",
        )
    return settings


def _greet(address: Address) -> None:
    click.echo(_WELCOME.format(address=address))
