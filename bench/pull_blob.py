"""How fast is a large blob pulled? From files, through the gateway from S3, by redirect, and from a fast origin."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from bench.harness import nginx, programs
from bench.harness.content import MIB, Content
from bench.harness.crowd import observe
from bench.harness.options import options, parser
from bench.harness.report import Report
from bench.harness.stage import s3_server, scratch_folder, staged

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench.harness.programs import Subject
    from bench.harness.report import Figures
    from bench.harness.stage import Stage
    from support.seaweed import SeaweedFS

_REPOSITORY = "bench/pull"
_LARGEST = 512 * MIB


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--size", type=int, help="MiB that all clients pull together: 2048, in a short round 1024")
    arguments.add_argument("--clients", type=int, nargs="+", help="1 8 64, in a short round 1")
    given = arguments.parse_args()
    chosen = options(given, short_repeat=2)
    clients = given.clients or ([1] if chosen.short else [1, 8, 64])
    total = (given.size or (1024 if chosen.short else 2048)) * MIB
    report = Report("pull_blob", chosen, {"mib": total // MIB, "clients": clients})
    for storage in chosen.storages:
        for redirects in (False, True) if storage == "s3" else (False,):
            kind = f"{storage}, {'redirect' if redirects else 'proxied'}" if storage == "s3" else storage
            with staged(chosen, storage, redirects=redirects) as stage:
                for count in clients:
                    _measure(report, kind, stage, count, total)
    if chosen.url is None and "s3" in chosen.storages:
        _measure_fast_origin(report, clients, total)
    report.finish()


def _measure(report: Report, kind: str, stage: Stage, clients: int, total: int) -> None:
    content = Content(min(_LARGEST, total // clients))
    for subject in stage.subjects:
        subject.client().push(_REPOSITORY, content, "length")
    target = f"/v2/{_REPOSITORY}/blobs/{content.digest}"
    report.compare(
        _case(kind, clients), stage.contestants(lambda subject: _pull(subject, target, content, clients, total))
    )


def _case(kind: str, clients: int) -> str:
    return f"{kind}, {clients} client{'s' * (clients > 1)}"


def _pull(subject: Subject, target: str, content: Content, clients: int, total: int) -> Figures:
    pulls = max(1, total // (content.size * clients))

    def prepare(_: int) -> Callable[[], None]:
        client = subject.client()

        def work() -> None:
            for _ in range(pulls):
                client.pull_from(target, content)

        return work

    return observe(subject.tree, clients, prepare).figures(content.size * clients * pulls)


def _measure_fast_origin(report: Report, clients: list[int], total: int) -> None:
    if not nginx.nginx_is_installed():
        print("nginx is not installed: the fast origin is left out", file=sys.stderr)
        return
    with ExitStack() as stack:
        folder = stack.enter_context(scratch_folder())
        server = stack.enter_context(s3_server(folder / "weed"))
        origin = stack.enter_context(nginx.origin(folder / "origin", server.endpoint_url))
        proxies = [
            stack.enter_context(nginx.proxy(folder / "proxy", origin.url)),
            stack.enter_context(nginx.tuned_proxy(folder / "tuned", origin.url)),
        ]
        settings = programs.s3_settings(origin.url, server) | report.options.slipway_settings()
        chosen = report.options
        slipway = stack.enter_context(
            programs.slipway(folder / "slipway", chosen.workers, settings, accounts=chosen.accounts)
        )
        for count in clients:
            content = Content(min(_LARGEST, total // count))
            slipway.client().push(_REPOSITORY, content, "length")
            key = _copy_to_origin(server, content, folder / "origin" / "files")
            targets = {slipway: f"/v2/{_REPOSITORY}/blobs/{content.digest}"} | dict.fromkeys([*proxies, origin], key)
            contestants = {
                subject.name: partial(_pull, subject, target, content, count, total)
                for subject, target in targets.items()
            }
            report.compare(_case("fast origin", count), contestants)


def _copy_to_origin(server: SeaweedFS, content: Content, files: Path) -> str:
    """Put the object's bytes where the origin serves them, and return the address on it."""
    client = server.client()
    try:
        listed = client.list_objects_v2(Bucket=programs.BUCKET_OF_SLIPWAY)["Contents"]
    finally:
        client.close()
    (key,) = (each["Key"] for each in listed if each["Size"] == content.size)
    path = files / programs.BUCKET_OF_SLIPWAY / key
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for block in content.blocks():
            file.write(block)
    return f"/{programs.BUCKET_OF_SLIPWAY}/{key}"


if __name__ == "__main__":
    main()
