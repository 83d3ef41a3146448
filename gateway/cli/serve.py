"""``slipway serve``: run the registry."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import click

from gateway import app
from gateway.config import Address, load
from gateway.telemetry.logs import configure_logs

_TRY_IT = """\
Try it from another terminal:

  docker pull alpine
  docker tag  alpine {address}/hello/alpine
  docker push {address}/hello/alpine
  docker pull {address}/hello/alpine

The console is at {url}/ in a browser.
"""
_WELCOME = "Slipway serves at {url} (stop it with Ctrl-C)\n\n" + _TRY_IT
_WELCOME_TO_ALL = "Slipway serves at {url} (open to everybody on this machine; stop it with Ctrl-C)\n\n" + _TRY_IT
_ROOT = """\
The root account was created, with this access key. Keep the secret key now: it is shown this once only.

  access key id  {id}
  secret key     {secret}

Log in with it as soon as Slipway serves:

  docker login -u {id} -p {secret} {address}
"""
_CHOSEN_ROOT = """\
The root account was created, with the access key that was chosen for it. Log in as soon as Slipway serves:

  docker login -u {id} {address}
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
    app.serve(lambda: load(os.environ, config, overrides), _show_root, partial(_greet, is_open=is_open))


def _show_root(address: Address, access_key_id: str, secret_key: str | None) -> None:
    click.echo((_ROOT if secret_key else _CHOSEN_ROOT).format(address=address, id=access_key_id, secret=secret_key))


def _greet(address: Address, scheme: str, *, is_open: bool) -> None:
    click.echo((_WELCOME_TO_ALL if is_open else _WELCOME).format(address=address, url=f"{scheme}://{address}"))
