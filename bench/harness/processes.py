"""What a process and its descendants have used, from /proc."""

from __future__ import annotations

import contextlib
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_PARENT = 1  # positions in /proc/PID/stat, counted behind the name, which may contain anything
_TIMES = slice(11, 15)


@dataclass(frozen=True, slots=True)
class ProcessTree:
    """A process and all its descendants; those that have left the tree, like the embedded Postgres, do not count."""

    root: int

    def pids(self) -> list[int]:
        """Return the process ids of the tree."""
        children: dict[int, list[int]] = {}
        for entry in _PROC.glob("[0-9]*"):
            if numbers := _stat(int(entry.name)):
                children.setdefault(int(numbers[_PARENT]), []).append(int(entry.name))
        found = [self.root]
        for pid in found:
            found += children.get(pid, [])
        return found

    def cpu_seconds(self) -> float:
        """Return user and system time of the tree, of descendants included that have ended."""
        ticks = sum(int(number) for pid in self.pids() for number in _stat(pid)[_TIMES])
        return ticks / _TICKS

    def rss(self) -> int:
        """Return the resident memory in bytes; what forked processes share counts for each of them."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                total += int((_PROC / str(pid) / "statm").read_text().split()[1]) * _PAGE
        return total

    def pss(self) -> int:
        """Return the resident memory in bytes; what processes share counts once."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
                total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
        return total


def _stat(pid: int) -> list[str]:
    """Return the fields behind the name in /proc/PID/stat, none if the process has ended."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


@dataclass(slots=True)
class MemoryWatch:
    """Samples the memory of a tree as long as the context lasts; peaks are in bytes."""

    tree: ProcessTree | None
    peak_rss: int = 0
    peak_pss: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self.tree is not None:
            self._thread = threading.Thread(target=self._watch, args=(self.tree,), daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self, tree: ProcessTree) -> None:
        turns = 0
        while not self._stop.wait(0.1):
            self.peak_rss = max(self.peak_rss, tree.rss())
            if turns % 5 == 0:  # this one makes the kernel walk all pages
                self.peak_pss = max(self.peak_pss, tree.pss())
            turns += 1
