"""Does a lookup take longer with one million blobs than with one hundred?"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from bench.harness import programs, rows, wrk
from bench.harness.options import options, parser
from bench.harness.report import Report
from bench.harness.stage import scratch_folder

if TYPE_CHECKING:
    from pathlib import Path

    from bench.harness.options import Options
    from bench.harness.programs import Subject
    from bench.harness.report import Figures
    from bench.harness.rows import Filled

_SAMPLES = 20
_CASES = (
    ("manifest GET by tag", "by_tag", "GET"),
    ("manifest GET by digest", "by_digest", "GET"),
    ("blob HEAD", "blobs", "HEAD"),
)
_SMALL = {"blobs": 100, "manifests": 100, "tags": 100, "repositories": 10}


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--blobs", type=int, default=1_000_000, help="a multiple of 1,000")
    arguments.add_argument("--manifests", type=int, default=200_000, help="manifests")
    arguments.add_argument("--tags", type=int, default=100_000, help="tags, not more than manifests")
    arguments.add_argument("--connections", type=int, default=8, help="connections of wrk")
    arguments.add_argument("--seconds", type=float, help="of each round: 5, in a short round 1")
    given = arguments.parse_args()
    chosen = options(given, repeat=5, short_repeat=4)
    if chosen.url is not None or not wrk.wrk_is_installed():
        raise SystemExit("this needs wrk, and a database of its own: --url means nothing here")
    large = {"blobs": given.blobs, "manifests": given.manifests, "tags": given.tags, "repositories": 1000}
    seconds = given.seconds or (1.0 if chosen.short else 5.0)
    report = Report("scale", chosen, {"connections": given.connections} | large)
    with ExitStack() as stack:
        folder = stack.enter_context(scratch_folder())
        filled = {
            f"{numbers['blobs']:,} blobs": _filled(stack, chosen, folder / str(numbers["blobs"]), numbers)
            for numbers in (_SMALL, large)
        }
        for case, what, method in _CASES:
            measures = {
                name: partial(_measure, each, what, method, folder, given.connections, seconds)
                for name, each in filled.items()
            }
            report.compare(case, measures)
    report.finish()


def _filled(stack: ExitStack, chosen: Options, data_dir: Path, numbers: dict[str, int]) -> tuple[Subject, Filled]:
    subject = stack.enter_context(
        programs.slipway(data_dir, chosen.workers, chosen.slipway_settings(), accounts=chosen.accounts)
    )
    # wrk waits for a body after HEAD as well, unless it is told that the body is empty.
    filled = rows.fill(data_dir, **numbers, blob_size=0)
    client = subject.client()
    for target in filled.by_tag[:_SAMPLES] + filled.by_digest[:_SAMPLES]:
        client.pull_bytes(target)
    return subject, filled


def _measure(
    each: tuple[Subject, Filled], what: str, method: str, folder: Path, connections: int, seconds: float
) -> Figures:
    subject, filled = each
    targets: list[str] = getattr(filled, what)
    return wrk.load(subject, folder, targets, method=method, connections=connections, seconds=seconds)


if __name__ == "__main__":
    main()
