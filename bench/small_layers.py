"""How many small layers can be pushed in a second? By POST, PATCH, PUT as docker does, and by POST and PUT."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from bench.harness.content import Content
from bench.harness.crowd import observe
from bench.harness.options import options, parser
from bench.harness.report import Report
from bench.harness.stage import staged

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.harness.programs import Subject
    from bench.harness.registry import Client
    from bench.harness.report import Figures

_SIZES = (4 * 1024, 64 * 1024)
_WAYS = ("POST PATCH PUT", "POST PUT")
_REPOSITORY = "bench/small"


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--blobs", type=int, default=200, help="blobs that each client pushes")
    arguments.add_argument("--clients", type=int, nargs="+", help="1 8, in a short round 8")
    given = arguments.parse_args()
    chosen = options(given)
    clients = given.clients or ([8] if chosen.short else [1, 8])
    blobs = 50 if chosen.short else given.blobs
    report = Report("small_layers", chosen, {"blobs": blobs, "clients": clients, "bytes": _SIZES})
    for storage in chosen.storages:
        with staged(chosen, storage) as stage:
            for count in clients:
                for way in _WAYS[: 1 if chosen.short else None]:
                    case = f"{storage}, {way}, {count} client{'s' * (count > 1)}"
                    at_once = way == _WAYS[1]
                    measure = _measurement(count, blobs, at_once=at_once)
                    report.compare(case, stage.contestants(measure))
    report.finish()


def _measurement(clients: int, blobs: int, *, at_once: bool) -> Callable[[Subject], Figures]:
    def measure(subject: Subject) -> Figures:
        sizes = random.Random(blobs)  # the same for all subjects
        contents = [[Content(sizes.randint(*_SIZES)) for _ in range(blobs)] for _ in range(clients)]
        for content in (each for those in contents for each in those):
            assert content.digest  # computed before the clock starts

        def prepare(index: int) -> Callable[[], None]:
            client = subject.client()
            return lambda: _push(client, contents[index], at_once=at_once)

        observed = observe(subject.tree, clients, prepare)
        _verify(subject, contents)
        count = clients * blobs
        figures = {"blobs_per_second": count / observed.seconds}
        if observed.cpu_seconds is not None:
            figures["cpu_ms_each"] = observed.cpu_seconds * 1000 / count
        return figures

    return measure


def _push(client: Client, contents: list[Content], *, at_once: bool) -> None:
    for content in contents:
        if at_once:
            client.push_at_once(_REPOSITORY, content)
        else:
            client.push(_REPOSITORY, content, "chunked")


def _verify(subject: Subject, contents: list[list[Content]]) -> None:
    client = subject.client()
    for content in (each for those in contents for each in those):
        client.pull(_REPOSITORY, content)


if __name__ == "__main__":
    main()
