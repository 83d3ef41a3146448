"""What if 200 machines pull one image at the same moment?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.harness.content import MIB, Content
from bench.harness.crowd import observe
from bench.harness.options import options, parser
from bench.harness.registry import digest_of, image_manifest
from bench.harness.report import Report
from bench.harness.stage import staged

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.harness.programs import Subject
    from bench.harness.report import Figures

_REPOSITORY = "bench/storm"
_TAG = "latest"


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--clients", type=int, default=200, help="clients that pull at once")
    arguments.add_argument("--layers", type=int, default=5, help="layers of the image")
    arguments.add_argument("--size", type=int, help="MiB of a layer: 8, in a short round 2")
    given = arguments.parse_args()
    chosen = options(given)
    size = given.size or (2 if chosen.short else 8)
    report = Report("storm", chosen, {"clients": given.clients, "layers": given.layers, "layer_mib": size})
    layers = [Content(size * MIB) for _ in range(given.layers)]
    config = Content(2048)
    raw = image_manifest(config, layers)
    contents = [config, *layers]
    for storage in chosen.storages[: 1 if chosen.short else None]:
        with staged(chosen, storage) as stage:
            for subject in stage.subjects:
                _push(subject, contents, raw)
            case = f"{storage}, {given.clients} clients"
            report.compare(case, stage.contestants(lambda subject: _pull(subject, given.clients, contents, raw)))
    report.finish()


def _push(subject: Subject, contents: list[Content], raw: bytes) -> None:
    client = subject.client()
    for content in contents:
        client.push(_REPOSITORY, content, "length")
    client.put_manifest(_REPOSITORY, _TAG, raw)


def _pull(subject: Subject, clients: int, contents: list[Content], raw: bytes) -> Figures:
    def prepare(_: int) -> Callable[[], None]:
        client = subject.client()

        def work() -> None:
            got = client.pull_bytes(f"/v2/{_REPOSITORY}/manifests/{_TAG}")
            if digest_of(got) != digest_of(raw):
                raise ValueError("the manifest is another one than was pushed")
            for content in contents:
                client.pull(_REPOSITORY, content)

        return work

    observed = observe(subject.tree, clients, prepare)
    durations = observed.durations
    figures = observed.figures(clients * sum(content.size for content in contents))
    times = {"p50_ms": durations[len(durations) // 2], "p99_ms": durations[len(durations) * 99 // 100]}
    return figures | {name: seconds * 1000 for name, seconds in times.items()}


if __name__ == "__main__":
    main()
