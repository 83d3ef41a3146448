"""What has to be reached on a quiet machine with two cores, with data in memory; docs/performance.md says why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from bench.harness.report import aligned, number

if TYPE_CHECKING:
    from collections.abc import Mapping

Document = dict[str, Any]  # what a benchmark wrote with --json


@dataclass(frozen=True, slots=True)
class Target:
    """A figure of one benchmark's case, or its ratio to another subject's or another case's, and its limits.

    ``to`` names the subject that the figure is divided by; ``subject`` the one that is judged, else the first.
    """

    benchmark: str
    case: str
    figure: str
    unit: str
    sign: Literal["<=", ">="]
    must: float
    aim: float | None = None
    to: str | None = None
    subject: str | None = None
    scale: float = 1.0

    def value(self, documents: Mapping[str, Document]) -> float | None:
        """Return what was measured, None when it was not."""
        rows = documents.get(self.benchmark, {}).get("rows", [])
        found = {row["subject"]: row["figures"] for row in rows if row["case"] == self.case}
        judged = found.get(self.subject, {}) if self.subject else next(iter(found.values()), {})
        if self.figure not in judged:
            return None
        if self.to is None:
            return float(judged[self.figure]) * self.scale
        other = found.get(self.to, {}).get(self.figure)
        return float(judged[self.figure]) / float(other) if other else None

    def reaches(self, value: float, limit: float) -> bool:
        """Tell whether a value is within a limit."""
        return value <= limit if self.sign == "<=" else value >= limit


_CPU = "cpu_seconds_per_gib"
_RATE = "mib_per_second"
_REQUESTS = "requests_per_second"
_PEER = "docker-registry"

TARGETS = (
    Target("push_blob", "filesystem, chunked, 1 client", _CPU, "CPU s/GiB", "<=", 1.25, 1.0),
    Target("push_blob", "filesystem, chunked, 1 client", _RATE, "x docker-registry", ">=", 2, to=_PEER),
    Target("push_blob", "s3, chunked, 1 client", _CPU, "CPU s/GiB", "<=", 1.7, 1.3),
    Target("push_blob", "s3, chunked, 1 client", _RATE, "x docker-registry", ">=", 2.5, to=_PEER),
    Target("push_blob", "s3, chunked, 1 client", _RATE, "x bare multipart", ">=", 0.75, 0.85, to="bare multipart"),
    Target("pull_blob", "filesystem, 1 client", _CPU, "CPU s/GiB", "<=", 0.25, 0.15),
    Target("pull_blob", "filesystem, 1 client", _RATE, "x docker-registry", ">=", 2, to=_PEER),
    Target("pull_blob", "s3, proxied, 1 client", _CPU, "CPU s/GiB", "<=", 0.35, 0.25),
    Target("pull_blob", "fast origin, 1 client", _RATE, "GiB/s", ">=", 2, scale=1 / 1024),
    Target("pull_blob", "fast origin, 1 client", _RATE, "x nginx proxy", ">=", 1.8, to="nginx proxy"),
    Target("requests", "redirect of a blob", _REQUESTS, "requests/s", ">=", 8000, 15000),
    Target("requests", "manifest by tag", _REQUESTS, "requests/s", ">=", 10000, 18000),
    Target("counters", "manifest by tag", _REQUESTS, "x not counted", ">=", 0.97, to="not counted"),
    Target("counters", "1,000 pulls of 1,000 images", "milliseconds_per_table", "ms a table", "<=", 10),
    Target("memory", "s3, 64 uploads, half slow", "failed", "failed", "<=", 0),
    Target("memory", "s3, 64 uploads, half slow", "peak_rss_mib", "RSS MiB", "<=", 600, 450),
    Target(
        "scale",
        "manifest GET by tag",
        "p99_ms",
        "x p99 of 100 blobs",
        "<=",
        1.3,
        1.1,
        to="100 blobs",
        subject="1,000,000 blobs",
    ),
    Target("startup", "first answer", "seconds", "seconds", "<=", 2, 1),
    Target("console", "every page", "p99_ms", "ms, slowest p99", "<=", 150, subject="slowest of the console"),
    Target("console", "every page", "p99_ms", "ms, slowest p99", "<=", 150, subject="slowest of the API"),
)


def judged(documents: Mapping[str, Document]) -> str:
    """Return the table of all targets: case, figure, limits, and whether they are reached."""
    lines = [["benchmark", "case", "measured", "in", "must reach", "aim", "reached"]]
    lines += [_line(target, target.value(documents)) for target in TARGETS]
    return aligned(lines)


def _line(target: Target, value: float | None) -> list[str]:
    must = f"{target.sign} {number(target.must)}"
    aim = "" if target.aim is None else f"{target.sign} {number(target.aim)}"
    cells = [target.benchmark, target.case, number(value), target.unit, must, aim]
    if value is None:
        return [*cells, "not measured"]
    if not target.reaches(value, target.must):
        return [*cells, "NO"]
    return [*cells, "yes" if target.aim is None or not target.reaches(value, target.aim) else "yes, and the aim"]
