"""Does every page answer in a moment when there are 10,000 images, and an image with 10,000 tags?"""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from bench.harness import programs, rows
from bench.harness.content import Content
from bench.harness.http import Connection
from bench.harness.options import options, parser
from bench.harness.registry import digest_of, image_manifest
from bench.harness.report import Report
from bench.harness.stage import scratch_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.harness.options import Options
    from bench.harness.programs import Subject
    from bench.harness.report import Figures

_MANY = 10_000
_HALF_WAY = 5
"""Pages of 1,000 until the middle."""
_IMAGES, _API_IMAGES = "/console/registries/default/images", "/api/registries/default/images"
_IMAGE, _API_IMAGE = f"{_IMAGES}/bench%2Fr1", f"{_API_IMAGES}/bench%2Fr1"
_SLOWEST = "every page"

Addresses = dict[str, tuple[str, str]]
"""Of a page of the console and of what the API says of the same; empty where one has nothing like it."""


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--requests", type=int, help="requests in each round: 100, in a short round 30")
    given = arguments.parse_args()
    chosen = options(given, repeat=1)
    if chosen.url is not None or chosen.accounts:
        raise SystemExit("this needs a database of its own that is open to everybody: no --url, no --accounts")
    count = given.requests or (30 if chosen.short else 100)
    report = Report("console", chosen, {"images": _MANY, "tags": _MANY, "requests": count})
    with scratch_folder() as folder:
        with _server(chosen, folder / "images", repositories=_MANY) as subject:
            _measure(report, subject, _of_many_images(subject), count)
        with _server(chosen, folder / "tags", repositories=1) as subject:
            _measure(report, subject, _of_many_tags(subject), count)
    for name in ("console", "API"):
        figures = [row.figures for row in report.rows if row.subject == name]
        report.add(_SLOWEST, f"slowest of the {name}", {key: max(each[key] for each in figures) for key in figures[0]})
    report.finish()


@contextmanager
def _server(chosen: Options, data_dir: Path, *, repositories: int) -> Iterator[Subject]:
    with programs.slipway(data_dir, chosen.workers, chosen.slipway_settings()) as subject:
        rows.fill(data_dir, blobs=2 * _MANY, manifests=_MANY, tags=_MANY, repositories=repositories)
        rows.add_figures(data_dir)
        yield subject


def _of_many_images(subject: Subject) -> Addresses:
    lists = {
        f"images by {sort}{where}": _list(subject, _IMAGES, _API_IMAGES, sort, is_middle=bool(where))
        for sort in ("name", "changed", "pulls")
        for where in ("", ", in the middle")
    }
    return lists | {
        "images found": (f"{_IMAGES}?search=r99", f"{_API_IMAGES}?search=r99"),
        "no image found": (f"{_IMAGES}?search=nothing", f"{_API_IMAGES}?search=nothing"),
        "recently deleted": ("/console/registries/default/deleted", "/api/registries/default/deleted"),
        "registries": ("/console/", "/api/registries"),
        "settings": ("/console/registries/default/settings", "/api/registries/default"),
        "accounts": ("/console/accounts", "/api/accounts"),
        "access keys": ("/console/keys", "/api/keys"),
        "audit log": ("/console/audit", "/api/audit"),
    }


def _of_many_tags(subject: Subject) -> Addresses:
    manifest = _pushed(subject)
    lists = {
        f"tags by {sort}{where}": _list(subject, _IMAGE, f"{_API_IMAGE}/tags", sort, is_middle=bool(where))
        for sort in ("name", "pushed", "pulled")
        for where in ("", ", in the middle")
    }
    return lists | {
        "tags found": (f"{_IMAGE}?search=t99", f"{_API_IMAGE}/tags?search=t99"),
        "no tag found": (f"{_IMAGE}?search=nothing", f"{_API_IMAGE}/tags?search=nothing"),
        "untagged": (f"{_IMAGE}/untagged", f"{_API_IMAGE}/manifests?untagged=true"),
        "details": (f"{_IMAGE}/details", _API_IMAGE),
        "editor": (f"{_IMAGE}/edit", ""),
        "question before deleting": (f"{_IMAGE}/delete", ""),
        "manifest": (f"{_IMAGE}/manifests/{manifest}", f"{_API_IMAGE}/manifests/{manifest}"),
    }


def _list(subject: Subject, page: str, api: str, sort: str, *, is_middle: bool) -> tuple[str, str]:
    """Return the addresses of a list in an order, from its begin or from its middle."""
    query = {"sort": sort}
    for _ in range(_HALF_WAY if is_middle else 0):
        body = _answer(Connection(subject.url), f"{api}?{urlencode({**query, 'limit': '1000'})}")
        query["cursor"] = json.loads(body)["next"]
    return f"{page}?{urlencode(query)}", f"{api}?{urlencode({**query, 'limit': '50'})}"


def _pushed(subject: Subject) -> str:
    """Push an image whose configuration can be read, and return its digest."""
    client = subject.client()
    config, layer = Content(2048), Content(4096)
    for content in (config, layer):
        client.push("bench/r1", content, "length")
    raw = image_manifest(config, [layer])
    client.put_manifest("bench/r1", "real", raw)
    return digest_of(raw)


def _measure(report: Report, subject: Subject, addresses: Addresses, count: int) -> None:
    for case, (page, api) in addresses.items():
        asked = {"console": page, "API": api}
        report.compare(case, {name: partial(_load, subject, target, count) for name, target in asked.items() if target})


def _load(subject: Subject, target: str, count: int) -> Figures:
    """Ask for one address again and again, one request after the other."""
    connection = Connection(subject.url)
    durations = []
    for _ in range(count):
        begin = time.perf_counter()
        _answer(connection, target)
        durations.append((time.perf_counter() - begin) * 1000)
    connection.close()
    durations.sort()
    return {"p50_ms": durations[count // 2], "p99_ms": durations[count * 99 // 100]}


def _answer(connection: Connection, target: str) -> bytes:
    head = connection.request("GET", target)
    body = connection.body()
    if head.status != 200:
        raise ValueError(f"GET {target} has the status {head.status}: {body[:500]!r}")
    return body


if __name__ == "__main__":
    main()
