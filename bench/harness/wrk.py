"""Request rates and latencies by wrk, over addresses that it chooses at random."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bench.harness.registry import MANIFEST_TYPE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.harness.programs import Subject
    from bench.harness.report import Figures

COUNTED = "bench-counted"
NOT_COUNTED = "bench-uncounted"
"""What clients call themselves: benchmarks of both configure the second as one of ``uncounted_agents``."""

_SCRIPT = """\
local requests = {}
function init(args)
    math.randomseed(tonumber(tostring({}):match("0x(%x+)"), 16))  -- each thread draws others
    for line in io.lines("@TARGETS@") do
        local target, login = line:match("^(%S+) ?(.*)$")
        if login ~= "" then
            login = "Authorization: " .. login .. "\\r\\n"
        end
        requests[#requests + 1] = "@METHOD@ " .. target .. " HTTP/1.1\\r\\nHost: @HOST@\\r\\n"
            .. login .. "Accept: @ACCEPT@\\r\\nUser-Agent: @AGENT@\\r\\n\\r\\n"
    end
end
function request()
    return requests[math.random(#requests)]
end
function done(summary, latency)
    local e = summary.errors
    io.write(string.format('RESULT {"requests": %d, "us": %d, "failed": %d, "p50": %.1f, "p99": %.1f}\\n',
        summary.requests, summary.duration, e.connect + e.read + e.write + e.status + e.timeout,
        latency:percentile(50), latency:percentile(99)))
end
"""


def wrk_is_installed() -> bool:
    """Tell whether wrk is here."""
    return shutil.which("wrk") is not None


def load(
    subject: Subject,
    folder: Path,
    targets: Sequence[str],
    *,
    method: str = "GET",
    connections: int,
    seconds: float,
    agent: str = COUNTED,
) -> Figures:
    """Ask for random targets over so many connections; raise RuntimeError when any request failed."""
    tree = subject.tree
    before = tree.cpu_seconds() if tree else 0.0
    result = _run(subject.url, _script(subject, folder, targets, method, agent), connections, seconds)
    if result["failed"] or not result["requests"]:
        raise RuntimeError(f"{subject.name} answered {result['requests']} requests, {result['failed']} failed")
    figures = {"requests_per_second": result["requests"] / result["us"] * 1e6}
    figures |= {"p50_ms": result["p50"] / 1000, "p99_ms": result["p99"] / 1000}
    if tree is not None:
        figures["cpu_ms_each"] = (tree.cpu_seconds() - before) * 1000 / result["requests"]
        figures["peak_rss_mib"] = tree.rss() / (1 << 20)
    return figures


def _script(subject: Subject, folder: Path, targets: Sequence[str], method: str, agent: str) -> Path:
    login = subject.login
    lines = targets if login is None else [f"{target} {login.authorization(target)}" for target in targets]
    addresses = folder / "targets"
    addresses.write_text("\n".join(lines) + "\n")
    values = {"TARGETS": str(addresses), "METHOD": method, "HOST": urlsplit(subject.url).netloc, "AGENT": agent}
    values["ACCEPT"] = MANIFEST_TYPE
    text = _SCRIPT
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    script = folder / "wrk.lua"
    script.write_text(text)
    return script


def _run(url: str, script: Path, connections: int, seconds: float) -> dict[str, Any]:
    threads = min(2, connections)
    command = ["wrk", f"-t{threads}", f"-c{connections}", f"-d{max(1, round(seconds))}s", "-s", str(script), url]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            result: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
            return result
    raise RuntimeError(f"wrk failed: {done.stdout}{done.stderr}")
