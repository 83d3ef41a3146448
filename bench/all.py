"""Run all benchmarks, a short round of each, and say which targets are reached.

Root measures on a network that does not pace, and with the kernel's autogroup off until the end (bench/README.md).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import ROOT
from bench.harness.kernel import prefix_of_quiet_network, processes_scheduled_alone
from bench.harness.report import machine
from bench.targets import Document, judged

_BENCHMARKS = (
    "push_blob",
    "pull_blob",
    "small_layers",
    "requests",
    "counters",
    "observing",
    "memory",
    "storm",
    "scale",
    "startup",
    "console",
)


def main() -> None:
    """Measure and print; end with 1 when a benchmark could not be run, whatever its figures are."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog="All other options are handed to each benchmark, for instance --workers 4."
    )
    parser.add_argument("--full", action="store_true", help="full rounds: half an hour, and 16 GiB in /dev/shm")
    parser.add_argument("--only", nargs="+", choices=_BENCHMARKS, default=_BENCHMARKS, help="these benchmarks")
    parser.add_argument("--json", type=Path, help="write the figures of all of them to this file")
    given, handed_on = parser.parse_known_args()
    begin = time.monotonic()
    documents = {}
    prefix = prefix_of_quiet_network()
    with processes_scheduled_alone():
        for name in given.only:
            document = _run(name, prefix, handed_on if given.full else ["--short", *handed_on])
            if document is not None:
                documents[name] = document
    print(f"\n{_summary(time.monotonic() - begin)}\n\n{judged(documents)}")
    failed = [name for name in given.only if name not in documents]
    if given.json:
        given.json.write_text(json.dumps(documents, indent=1) + "\n")
    if failed:
        raise SystemExit(f"\nthese benchmarks could not be run: {', '.join(failed)}")


def _run(name: str, prefix: list[str], options: list[str]) -> Document | None:
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as folder:
        file = Path(folder) / "figures.json"
        command = [*prefix, sys.executable, "-m", f"bench.{name}", "--json", str(file), *options]
        done = subprocess.run(command, cwd=ROOT, check=False)
        if done.returncode or not file.exists():
            return None
        document: Document = json.loads(file.read_text())
        return document


def _summary(seconds: float) -> str:
    here = machine()
    load = os.getloadavg()[0]
    return f"all benchmarks: {seconds:.0f} seconds on {here['processor']}, {here['cores']} cores, load {load:.1f}"


if __name__ == "__main__":
    main()
