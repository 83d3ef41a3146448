"""Two settings of the kernel that spoil figures on loopback, and how root measures without them (bench/README.md)."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_CONGESTION_CONTROL = Path("/proc/sys/net/ipv4/tcp_congestion_control")
_AUTOGROUP = Path("/proc/sys/kernel/sched_autogroup_enabled")
_IN_A_NETWORK_OF_ITS_OWN = (
    *("unshare", "--net", "sh", "-c"),
    'ip link set lo up && echo reno > /proc/sys/net/ipv4/tcp_congestion_control && exec "$@"',
    "-",
)


def congestion_control() -> str:
    """Return by which rules this network sends over TCP."""
    return _CONGESTION_CONTROL.read_text().strip()


def schedules_by_session() -> bool:
    """Tell whether all processes of one session share one turn at the processor (autogroup)."""
    return _AUTOGROUP.exists() and _AUTOGROUP.read_text().strip() == "1"


def prefix_of_quiet_network() -> list[str]:
    """Return what is put before a command so that it gets a network that does not pace; nothing where that fails."""
    if congestion_control() != "bbr" or os.geteuid() != 0 or shutil.which("unshare") is None:
        return []
    prefix = list(_IN_A_NETWORK_OF_ITS_OWN)
    works = subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode == 0
    return prefix if works else []


@contextmanager
def processes_scheduled_alone() -> Iterator[None]:
    """Turn autogroup off for the whole machine as long as the context lasts, where that is allowed."""
    was_on = schedules_by_session()
    if was_on:
        with suppress(OSError):
            _AUTOGROUP.write_text("0")
    try:
        yield
    finally:
        if was_on:
            with suppress(OSError):
                _AUTOGROUP.write_text("1")
