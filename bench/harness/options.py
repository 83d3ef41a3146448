"""The command line that all benchmarks share."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

STORAGES = ("filesystem", "s3")


@dataclass(frozen=True, slots=True)
class Options:
    """What is measured, how often, and where the figures go."""

    url: str | None = None
    pid: int | None = None
    peer: bool = True
    workers: int = 2
    accounts: bool = False
    settings: tuple[str, ...] = ()
    repeat: int = 3
    storages: tuple[str, ...] = STORAGES
    short: bool = False
    json: Path | None = None

    def parameters(self) -> dict[str, Any]:
        """Return everything but the place of the file, for the file."""
        return {name: value for name, value in asdict(self).items() if name != "json"}

    def slipway_settings(self) -> dict[str, str]:
        """Return the settings that were given for Slipway."""
        return dict(setting.split("=", 1) for setting in self.settings)


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the shared options; a benchmark adds its own."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    made.add_argument("--url", help="measure the registry at this address instead of Slipway")
    made.add_argument("--pid", type=int, help="its main process, for CPU time and memory; left out without")
    made.add_argument("--no-peer", action="store_true", help="leave out docker-registry")
    made.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="worker processes of Slipway")
    made.add_argument("--accounts", action="store_true", help="run Slipway with accounts, and send tokens")
    made.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of Slipway")
    made.add_argument("--repeat", type=int, help="rounds; rates and CPU are medians, memory is the highest")
    made.add_argument("--storage", choices=STORAGES, help="only this storage")
    made.add_argument("--short", action="store_true", help="a short round, as in make bench")
    made.add_argument("--json", type=Path, help="write the figures to this file")
    return made


def options(arguments: argparse.Namespace, *, repeat: int = 3, short_repeat: int = 1) -> Options:
    """Read the shared options, and see to it that servers and folders go when the benchmark is ended."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    storages = (arguments.storage,) if arguments.storage else STORAGES[:1] if arguments.url else STORAGES
    return Options(
        url=arguments.url,
        pid=arguments.pid,
        peer=not arguments.no_peer,
        workers=arguments.workers,
        accounts=arguments.accounts,
        settings=tuple(arguments.set),
        repeat=arguments.repeat or (short_repeat if arguments.short else repeat),
        storages=storages,
        short=arguments.short,
        json=arguments.json,
    )
