"""How fast is a large blob pushed? Both framings, both storages, one client and many."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from bench.harness.content import MIB, Content
from bench.harness.crowd import observe
from bench.harness.multipart import push_bare
from bench.harness.options import options, parser
from bench.harness.report import Report
from bench.harness.stage import staged

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.harness.options import Options
    from bench.harness.programs import Subject
    from bench.harness.registry import Framing
    from bench.harness.report import Figures
    from support.seaweed import SeaweedFS

_SMALLEST = 16 * MIB


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--size", type=int, default=512, help="MiB that one client pushes, or all together")
    arguments.add_argument("--clients", type=int, nargs="+", help="1 8 64, in a short round 1")
    given = arguments.parse_args()
    chosen = options(given, short_repeat=3)
    clients = given.clients or ([1] if chosen.short else [1, 8, 64])
    size = (256 if chosen.short else given.size) * MIB
    report = Report("push_blob", chosen, {"mib": size // MIB, "clients": clients})
    for storage in chosen.storages:
        for count in clients:
            for framing in _framings(chosen, storage):
                _measure(report, storage, framing, count, max(size // count, _SMALLEST))
    report.finish()


def _framings(chosen: Options, storage: str) -> tuple[Framing, ...]:
    return ("chunked",) if chosen.short and storage == "s3" else ("chunked", "length")


def _measure(report: Report, storage: str, framing: Framing, clients: int, size: int) -> None:
    case = f"{storage}, {framing}, {clients} client{'s' * (clients > 1)}"
    with staged(report.options, storage) as stage:
        contestants = stage.contestants(lambda subject: _push(subject, framing, clients, size))
        if stage.s3 is not None and clients == 1:
            contestants["bare multipart"] = partial(_push_bare, stage.s3, size)
        report.compare(case, contestants)


def _push_bare(server: SeaweedFS, size: int) -> Figures:
    return {"mib_per_second": push_bare(server, size)}


def _push(subject: Subject, framing: Framing, clients: int, size: int) -> Figures:
    contents = [Content(size) for _ in range(clients)]

    def prepare(index: int) -> Callable[[], str]:
        content = contents[index]
        digest = content.digest
        client = subject.client()

        def work() -> str:
            client.push(f"bench/push{index}", content, framing)
            return digest

        return work

    observed = observe(subject.tree, clients, prepare)
    _verify(subject, contents, observed.results)
    return observed.figures(size * clients)


def _verify(subject: Subject, contents: list[Content], digests: list[str]) -> None:
    """Pull everything that was pushed; the clock has stopped."""
    client = subject.client()
    for index, (content, digest) in enumerate(zip(contents, digests, strict=True)):
        client.pull_from(f"/v2/bench/push{index}/blobs/{digest}", content)


if __name__ == "__main__":
    main()
