"""``slipway serve``: run the registry."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click
import uvloop

from gateway.app import running
from gateway.config import Address, Settings, load
from gateway.errors import ConfigurationError
from gateway.telemetry.logs import configure_logs

if TYPE_CHECKING:
    from gateway.app import Running

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
@click.option("--data-dir", type=click.Path(path_type=Path), help="Folder for file storage and embedded Postgres.")
@click.option("--open", "is_open", is_flag=True, help="Let anybody push and pull; on a loopback address only.")
@click.option("--config", type=click.Path(path_type=Path), help="TOML file with settings.")
def serve(listen: Address | None, data_dir: Path | None, is_open: bool, config: Path | None) -> None:  # noqa: FBT001
    """Run the registry until SIGINT or SIGTERM.

    Every setting can also be given in the TOML file or by an environment variable; see docs/configuration.md.
    """
    overrides = {"listen": listen, "data_dir": data_dir, "open": is_open or None}
    settings = load(os.environ, config, overrides)
    if not settings.open:
        raise ConfigurationError(
            "this version has no accounts yet: add --open to let everybody on this machine push and pull",
        )
    configure_logs()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signal_number, stop.set)
    async with running(settings) as server:
        click.echo(_WELCOME.format(address=_address(server)))
        await stop.wait()


def _address(server: Running) -> str:
    return str(Address(server.host, server.port))
