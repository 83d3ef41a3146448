"""Metrics: what there is to count, and how Prometheus reads it.

To add one, add it to ``COUNTERS`` and to docs/metrics.md. Every combination of labels is known beforehand and has a
word in the board, so that counting is one addition in shared memory.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from gateway.telemetry.board import Board

if TYPE_CHECKING:
    from collections.abc import Iterable

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

ROUTES = (
    *("ping", "token", "catalog", "tags", "manifest", "uploads", "upload", "blob", "referrers"),
    *("api", "none"),
)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "other")
STATUSES = (
    *("200", "201", "202", "204", "206", "304", "307", "400", "401", "403", "404", "405", "413", "414", "416", "417"),
    *("429", "431", "499", "500", "503", "507", "other"),
)


@dataclass(frozen=True, slots=True)
class Counter:
    """A number that only grows, for each combination of its labels."""

    name: str
    help: str
    labels: tuple[str, ...]
    combinations: tuple[tuple[str, ...], ...]


COUNTERS = (
    Counter(
        "slipway_bodies_received",
        "Large request bodies by the way they were received: directly into part buffers, or by aiohttp's parser.",
        ("way",),
        (("direct",), ("parser",)),
    ),
    Counter(
        "slipway_contents_sent",
        "Contents of blobs by the way they were sent: sendfile, splice, or copies through memory.",
        ("way",),
        (("sendfile",), ("splice",), ("copy",)),
    ),
    Counter(
        "slipway_self_tests_failed",
        "Starts of a worker at which a fast way did not work, so that another one is taken.",
        ("way",),
        (("receiving",), ("sendfile",), ("splice",)),
    ),
    Counter(
        "slipway_requests",
        "Requests that were answered.",
        ("route", "method", "status"),
        tuple(itertools.product(ROUTES, METHODS, STATUSES)),
    ),
)
WORDS_OF_TRANSPORT = sum(len(counter.combinations) for counter in COUNTERS[:3])
"""The first words: those of ``transport.tally.Way``, in its order."""


class Metrics:
    """The metrics of a service; one worker counts in ``slot``."""

    def __init__(self, board: Board, slot: int) -> None:
        self._board = board
        region = board.region(slot)
        self.transport = region[:WORDS_OF_TRANSPORT]
        self._requests = region[WORDS_OF_TRANSPORT:]
        self._places = {key: place for place, key in enumerate(COUNTERS[3].combinations)}
        self._registry = CollectorRegistry()
        self._registry.register(_Reader(board))

    def count_request(self, route: str, method: str, status: int) -> None:
        """Count a request that was answered."""
        place = self._places.get((route, method, str(status)))
        if place is None:
            place = self._place_of_others(route, method, str(status))
        self._requests[place] += 1

    def page(self) -> bytes:
        """Return all metrics of all workers, as Prometheus reads them."""
        return generate_latest(self._registry)

    def _place_of_others(self, route: str, method: str, status: str) -> int:
        labels = (
            route if route in ROUTES else "none",
            method if method in METHODS else "other",
            status if status in STATUSES else "other",
        )
        return self._places[labels]


class _Reader(Collector):
    """Reads the board for Prometheus' library."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def collect(self) -> Iterable[CounterMetricFamily]:
        """Return every combination that was ever counted, and all of those that are few."""
        totals = iter(self._board.totals())
        for counter in COUNTERS:
            family = CounterMetricFamily(counter.name, counter.help, labels=counter.labels)
            is_small = len(counter.combinations) < len(STATUSES)
            for labels in counter.combinations:
                value = next(totals)
                if value or is_small:
                    family.add_metric(labels, value)
            yield family


def new_board() -> Board:
    """Make the board of all metrics."""
    return Board(sum(len(counter.combinations) for counter in COUNTERS))
