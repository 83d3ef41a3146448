"""Figures as a table for people and as JSON for programs."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import ROOT
from bench.harness.kernel import congestion_control, schedules_by_session
from bench.harness.programs import PEER, peer_is_installed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bench.harness.options import Options

Figures = dict[str, float]

# Names in JSON and headings in tables. Of the first kind more is better, of the second less.
_MORE = {"mib_per_second": "MiB/s", "requests_per_second": "requests/s", "blobs_per_second": "blobs/s"}
_LESS = {
    "cpu_seconds_per_gib": "CPU s/GiB",
    "cpu_ms_each": "CPU ms each",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "seconds": "seconds",
    "milliseconds": "ms",
    "milliseconds_per_table": "ms a table",
    "microseconds": "µs CPU",
    "peak_rss_mib": "RSS MiB",
    "peak_pss_mib": "PSS MiB",
}
_HEADINGS = _MORE | _LESS | {"failed": "failed"}
_IN_RATIO = (*_MORE, "cpu_seconds_per_gib", "cpu_ms_each", "seconds")
_PEERS = (PEER, "nginx proxy")


@dataclass(frozen=True, slots=True)
class Row:
    """What one subject reached in one case."""

    case: str
    subject: str
    figures: Figures


@dataclass(slots=True)
class Report:
    """All rows of a benchmark, in the order in which they were measured."""

    benchmark: str
    options: Options
    parameters: dict[str, Any] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    def compare(self, case: str, contestants: Mapping[str, Callable[[], Figures]]) -> None:
        """Measure all contestants in turn, as often as asked for, and add what is typical for each."""
        rounds: dict[str, list[Figures]] = {name: [] for name in contestants}
        for _ in range(self.options.repeat):
            for name, measure in contestants.items():
                rounds[name].append(measure())
        for name, figures in rounds.items():
            self.add(case, name, typical(figures))

    def add(self, case: str, subject: str, figures: Figures) -> None:
        """Add a row and say on standard error that it is done."""
        self.rows.append(Row(case, subject, figures))
        said = ", ".join(f"{number(figures[name])} {_HEADINGS[name]}" for name in figures)
        print(f"  {self.benchmark}: {case}, {subject}: {said}", file=sys.stderr, flush=True)

    def ratios(self, row: Row) -> Figures:
        """Return the row's figures divided by the peer's in the same case; none for the peer itself."""
        peer = next((each for each in self.rows if each.case == row.case and each.subject in _PEERS), None)
        if peer is None or row.subject in _PEERS:
            return {}
        shared = [name for name in _IN_RATIO if row.figures.get(name) and peer.figures.get(name)]
        return {name: row.figures[name] / peer.figures[name] for name in shared}

    def finish(self) -> None:
        """Print the table, and write the file that was asked for."""
        print(f"\n{self.benchmark}: {', '.join(f'{name} {value}' for name, value in self.parameters.items())}\n")
        print(self.table())
        if self.options.peer and not peer_is_installed():
            print(f"\n{PEER} is not installed: apt-get install --no-install-recommends {PEER}")
        if congestion_control() == "bbr":
            print("\nThis network paces what it sends (BBR), which costs CPU on loopback: see bench/README.md")
        if schedules_by_session():
            print("\nThis kernel shares its time between sessions (autogroup), so p99s are noise: see bench/README.md")
        if self.options.json:
            self.options.json.write_text(json.dumps(self.document(), indent=1) + "\n")

    def table(self) -> str:
        """Return all rows as text, ratios to the peer in the last columns."""
        used = [name for name in _HEADINGS if any(name in row.figures for row in self.rows)]
        compared = [name for name in used if any(name in self.ratios(row) for row in self.rows)]
        head = ["case", "subject", *(_HEADINGS[name] for name in used)]
        head += [f"{_HEADINGS[name].split()[0]} : peer" for name in compared]
        lines = [head]
        for row in self.rows:
            ratios = self.ratios(row)
            figures = [number(row.figures.get(name)) for name in used]
            lines.append([row.case, row.subject, *figures, *(number(ratios.get(name), "x") for name in compared)])
        return aligned(lines)

    def document(self) -> dict[str, Any]:
        """Return what the file holds."""
        return {
            "benchmark": self.benchmark,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": _commit(),
            "machine": machine(),
            "parameters": self.options.parameters() | self.parameters,
            "rows": [
                {"case": row.case, "subject": row.subject, "figures": row.figures, "ratios": self.ratios(row)}
                for row in self.rows
            ],
        }


def typical(rounds: Sequence[Figures]) -> Figures:
    """Return the median of each figure, but the highest memory and all failures."""
    return {name: _typical(name, [each[name] for each in rounds]) for name in rounds[0]}


def _typical(name: str, values: list[float]) -> float:
    if name == "failed":
        return sum(values)
    return max(values) if name.startswith("peak") else statistics.median(values)


def number(value: float | None, unit: str = "") -> str:
    """Return a figure with about three digits."""
    if value is None:
        return "-"
    return f"{value:,.{0 if value >= 100 or value == 0 else 1 if value >= 10 else 2}f}{unit}"


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Return lines of cells as columns: texts to the left, numbers to the right."""
    widths = [max(len(line[index]) for line in lines) for index in range(len(lines[0]))]
    texts = [index < 2 or not any(line[index][:1].isdigit() for line in lines[1:]) for index in range(len(widths))]
    rows = []
    for line in lines:
        cells = zip(line, widths, texts, strict=True)
        rows.append("  ".join(cell.ljust(width) if text else cell.rjust(width) for cell, width, text in cells).rstrip())
    return "\n".join([rows[0], "-" * max(len(row) for row in rows), *rows[1:]])


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    information = dict(
        line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
    )
    memory = Path("/proc/meminfo").read_text().split()[1]
    return {
        "processor": next(iter(information.values()), platform.machine()).strip(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mib": int(memory) // 1024,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "congestion_control": congestion_control(),
        "autogroup": schedules_by_session(),
    }


def _commit() -> str:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
