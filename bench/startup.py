"""How long does it take from starting the program to its first answer, on a data directory that is in use already?"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bench.harness import programs
from bench.harness.options import options, parser
from bench.harness.report import Report
from bench.harness.stage import scratch_folder
from gateway.db.embedded import EmbeddedPostgres
from support.ports import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from bench.harness.options import Options
    from bench.harness.report import Figures


def main() -> None:
    """Measure and print."""
    chosen = options(parser(__doc__).parse_args(), repeat=7, short_repeat=3)
    report = Report("startup", chosen, {"workers": chosen.workers})
    if chosen.url is not None:
        raise SystemExit("a registry that runs already cannot be started: --url means nothing here")
    with scratch_folder() as folder:
        data_dir = folder / "slipway"
        with programs.slipway(data_dir, chosen.workers, chosen.slipway_settings(), accounts=chosen.accounts):
            pass  # the first start makes the database
        contestants = {"slipway": lambda: _slipway(chosen, data_dir)}
        if chosen.peer and programs.peer_is_installed():
            contestants[programs.PEER] = lambda: _peer(folder)
        report.compare("first answer", contestants)
        with EmbeddedPostgres.acquire(data_dir):
            report.compare("first answer, its Postgres running", {"slipway": lambda: _slipway(chosen, data_dir)})
    report.finish()


def _slipway(chosen: Options, data_dir: Path) -> Figures:
    begin = time.monotonic()
    with programs.slipway(data_dir, chosen.workers, chosen.slipway_settings(), accounts=chosen.accounts):
        return {"seconds": time.monotonic() - begin}


def _peer(folder: Path) -> Figures:
    port = free_port()
    file = folder / "peer.yml"
    file.write_text(programs.peer_configuration(port, programs.peer_on_files(folder / "peer")))
    command = [programs.PEER, "serve", str(file)]
    begin = time.monotonic()
    with programs.program(command, f"http://127.0.0.1:{port}/v2/", folder / "peer.log", programs.peer_environment()):
        return {"seconds": time.monotonic() - begin}


if __name__ == "__main__":
    main()
