"""How much memory do 64 uploads to S3 take, half of them slow? All of them have to succeed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.harness.content import MIB, Content
from bench.harness.crowd import observe
from bench.harness.options import options, parser
from bench.harness.programs import peer_is_installed
from bench.harness.report import Report
from bench.harness.stage import staged

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.harness.programs import Subject
    from bench.harness.report import Figures

_READERS = 8


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--clients", type=int, default=64, help="uploads at once, every second one slow")
    arguments.add_argument("--size", type=int, help="MiB of a fast upload: 128, in a short round 32")
    arguments.add_argument("--slow-size", type=int, help="MiB of a slow upload: 128, in a short round 16")
    arguments.add_argument("--slow-rate", type=float, default=2.0, help="MiB/s of a slow upload")
    given = arguments.parse_args()
    chosen = options(given, repeat=1)
    fast = (given.size or (32 if chosen.short else 128)) * MIB
    slow = (given.slow_size or (16 if chosen.short else 128)) * MIB
    sizes = [slow if index % 2 else fast for index in range(given.clients)]
    parameters = {"fast_mib": fast // MIB, "slow_mib": slow // MIB, "slow_mib_per_second": given.slow_rate}
    report = Report("memory", chosen, {"clients": given.clients} | parameters)
    for storage in (each for each in chosen.storages if each == "s3" or len(chosen.storages) == 1):
        _measure(report, storage, sizes, given.slow_rate * MIB, peer=False)
        if chosen.peer and not chosen.short and peer_is_installed():
            # On a stage of its own: the S3 server keeps everything in memory, and the peer copies there.
            _measure(report, storage, sizes, given.slow_rate * MIB, peer=True)
    report.finish()


def _measure(report: Report, storage: str, sizes: list[int], slow_rate: float, *, peer: bool) -> None:
    with staged(report.options, storage, peer=peer) as stage:
        subject = stage.subjects[-1]
        report.add(f"{storage}, {len(sizes)} uploads, half slow", subject.name, _push(subject, sizes, slow_rate))


def _push(subject: Subject, sizes: list[int], slow_rate: float) -> Figures:
    contents = [Content(size) for size in sizes]

    def prepare(index: int) -> Callable[[], str]:
        content, rate = contents[index], slow_rate if index % 2 else None
        digest = content.digest
        client = subject.client()

        def work() -> str:
            try:
                client.push(_repository(index), content, "chunked", rate)
            except (OSError, ValueError) as error:
                return f"failed: {error}"
            return digest

        return work

    observed = observe(subject.tree, len(sizes), prepare)
    pushed = [index for index, result in enumerate(observed.results) if not result.startswith("failed")]
    _verify(subject, [(_repository(index), contents[index], observed.results[index]) for index in pushed])
    figures = observed.figures(sum(sizes)) | {"failed": float(len(sizes) - len(pushed))}
    return figures | ({"peak_pss_mib": observed.peak_pss / MIB} if subject.tree else {})


def _repository(index: int) -> str:
    return f"bench/memory{index}"


def _verify(subject: Subject, pushed: list[tuple[str, Content, str]]) -> None:
    """Pull everything by a few clients; nobody watches the memory any more."""

    def prepare(reader: int) -> Callable[[], None]:
        client = subject.client()

        def work() -> None:
            for repository, content, digest in pushed[reader::_READERS]:
                client.pull_from(f"/v2/{repository}/blobs/{digest}", content)

        return work

    observe(None, _READERS, prepare)


if __name__ == "__main__":
    main()
