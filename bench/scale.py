"""Does a lookup take longer with one million blobs than with one hundred?

Pulls are not counted but in the last case: there 100,000 different tags have each a counter of their own to be written.
"""

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
    from bench.harness.rows import Filled

_SAMPLES = 20
_CASES = (
    ("manifest GET by tag", "by_tag", "GET", wrk.NOT_COUNTED),
    ("manifest GET by digest", "by_digest", "GET", wrk.NOT_COUNTED),
    ("blob HEAD", "blobs", "HEAD", wrk.NOT_COUNTED),
    ("manifest GET by tag, counted", "by_tag", "GET", wrk.COUNTED),
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
    arguments.set_defaults(set=[f"uncounted_agents={wrk.NOT_COUNTED}"])
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
        for case, what, method, agent in _CASES:
            load = partial(wrk.load, method=method, connections=given.connections, seconds=seconds, agent=agent)
            measures = {
                name: partial(load, subject, folder, getattr(addresses, what))
                for name, (subject, addresses) in filled.items()
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


if __name__ == "__main__":
    main()
