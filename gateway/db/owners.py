"""Names of processes as owners of leases: where one works, and which one it is.

A process that comes up in the place of another one, the same address on the same machine, gives back the leases of
its predecessor, unless that is alive still and finishes what it has begun.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_START_TIME = 19  # of the fields behind the name in /proc/<pid>/stat, see proc(5)


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, in a place that only one process has at a time (but for those that are ending)."""

    place: str
    process: str
    """Process id and start time, which together are never used twice before the machine is restarted."""

    @classmethod
    def here(cls, place: str) -> Self:
        """Name this process; ``place`` tells it from its neighbours on this machine."""
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        process = _process(os.getpid())
        assert process is not None
        return cls(f"{boot_id}/{socket.gethostname()}/{place}", process)

    @property
    def is_alive(self) -> bool:
        """Whether the process still runs on this machine."""
        return _process(int(self.process.partition(".")[0])) == self.process

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an owner as it was written."""
        place, _, process = text.rpartition("/")
        return cls(place, process)

    def __str__(self) -> str:
        return f"{self.place}/{self.process}"


def _process(pid: int) -> str | None:
    try:
        # The name may contain anything, parentheses and spaces included.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return f"{pid}.{fields[_START_TIME]}"
