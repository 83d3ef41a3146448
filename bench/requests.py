"""How many manifests by tag and digest, and how many redirects of blobs, in a second?"""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING

from bench.harness import rows, wrk
from bench.harness.content import Content
from bench.harness.crowd import observe
from bench.harness.options import options, parser
from bench.harness.registry import Client, digest_of, image_manifest
from bench.harness.report import Report
from bench.harness.rows import Filled
from bench.harness.stage import staged

if TYPE_CHECKING:
    from argparse import Namespace

    from bench.harness.programs import Subject
    from bench.harness.report import Figures
    from bench.harness.stage import Stage

_REPOSITORY = "bench/requests"
_SAMPLES = 20
_PUSHERS = 8
_CASES = {"by_tag": "manifest by tag", "by_digest": "manifest by digest", "blobs": "redirect of a blob"}


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--tags", type=int, default=100_000, help="tags in Slipway's database")
    arguments.add_argument("--peer-tags", type=int, default=500, help="tags pushed to any other registry")
    arguments.add_argument("--connections", type=int, default=32, help="connections of wrk")
    arguments.add_argument("--seconds", type=float, help="of each round: 10, in a short round 3")
    given = arguments.parse_args()
    chosen = options(given)
    if not wrk.wrk_is_installed():
        raise SystemExit("this needs wrk: apt-get install --no-install-recommends wrk")
    seconds = given.seconds or (3.0 if chosen.short else 10.0)
    report = Report("requests", chosen, {"tags": given.tags, "connections": given.connections, "seconds": seconds})
    # Manifests come from the database, or from the peer's files; redirects need S3.
    for storage in chosen.storages:
        kinds = ("blobs",) if storage == "s3" else ("by_tag", "by_digest")
        with staged(chosen, storage, redirects=storage == "s3") as stage:
            targets = {subject.name: _targets(subject, stage, given) for subject in stage.subjects}
            for kind in kinds:
                _measure(report, kind, stage, targets, given.connections, seconds)
    report.finish()


def _targets(subject: Subject, stage: Stage, given: Namespace) -> Filled:
    """Fill a registry and return addresses: Slipway by SQL, any other by pushing as much as is bearable."""
    if subject.name == "slipway":
        return rows.fill(stage.data_dir, blobs=given.tags, manifests=given.tags, tags=given.tags, repositories=100)
    config = Content(1024)
    layers = [Content(4096) for _ in range(given.peer_tags // 10)]
    client = subject.client()
    for content in (config, *layers):
        client.push(_REPOSITORY, content, "length")
    raws = [image_manifest(config, layers[:3], note=str(number)) for number in range(given.peer_tags)]
    observe(None, _PUSHERS, lambda index: partial(_put, subject.client(), raws, index))
    return Filled(
        by_tag=[f"/v2/{_REPOSITORY}/manifests/t{number}" for number in range(len(raws))],
        by_digest=[f"/v2/{_REPOSITORY}/manifests/{digest_of(raw)}" for raw in raws],
        blobs=[f"/v2/{_REPOSITORY}/blobs/{layer.digest}" for layer in layers],
    )


def _put(client: Client, raws: list[bytes], index: int) -> None:
    for number in range(index, len(raws), _PUSHERS):
        client.put_manifest(_REPOSITORY, f"t{number}", raws[number])


def _measure(
    report: Report, kind: str, stage: Stage, targets: dict[str, Filled], connections: int, seconds: float
) -> None:
    def measure(subject: Subject) -> Figures:
        addresses: list[str] = getattr(targets[subject.name], kind)
        _verify(subject, kind, addresses)
        return wrk.load(subject, stage.folder, addresses, connections=connections, seconds=seconds)

    report.compare(_CASES[kind], stage.contestants(measure))


def _verify(subject: Subject, kind: str, addresses: list[str]) -> None:
    """Look at some answers: manifests by their digest, redirects by following one to what was pushed."""
    client = subject.client()
    for address in random.sample(addresses, min(_SAMPLES, len(addresses))):
        if kind == "blobs":
            client.redirection(address)
        elif digest_of(client.pull_bytes(address)) != address.rpartition("/")[2] and kind == "by_digest":
            raise ValueError(f"{address} gave another manifest")
    if kind == "blobs":
        content = Content(4096)
        client.push(_REPOSITORY, content, "chunked")
        client.pull(_REPOSITORY, content)


if __name__ == "__main__":
    main()
