"""The unit for systemd is one that systemd takes, and gives Slipway the time that it needs."""

from __future__ import annotations

import subprocess
from pathlib import Path

from e2e.processes import find_program
from gateway.config import Settings

UNIT = Path(__file__).parent.parent.parent / "deploy" / "slipway.service"


def test_systemd_takes_it(tmp_path: Path) -> None:
    """Every line is understood; the program is put where the unit wants it, in a root of its own."""
    analyze = find_program("systemd-analyze", "systemd")
    program = tmp_path / "slipway"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / "slipway.service"
    unit.write_text(UNIT.read_text().replace("/opt/slipway/bin/slipway", str(program)))
    done = subprocess.run([analyze, "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    said = [line for line in done.stderr.splitlines() if "slipway" in line]
    assert (done.returncode, said) == (0, [])


def test_systemd_waits_long_enough() -> None:
    """With the defaults, and with what the load balancers in deploy/ ask for on top."""
    lines = dict(line.split("=", 1) for line in UNIT.read_text().splitlines() if line[:1].isalpha())
    settings = Settings(data_dir=Path("/unused"))
    assert int(lines["TimeoutStopSec"]) > settings.unready_seconds + settings.drain_seconds + 25
