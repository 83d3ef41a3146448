"""Metrics of a service: each worker counts in its region of the board, and any of them tells Prometheus about all."""

from __future__ import annotations

import asyncio
import itertools
from bisect import bisect_left
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import Collector

from gateway.background import in_background
from gateway.telemetry.board import Board
from gateway.telemetry.declared import (
    FIRST_BYTE_SECONDS,
    METHODS,
    METRICS,
    RECEIVED_BYTES,
    REQUEST_SECONDS,
    REQUESTS,
    ROUTES,
    SENT_BYTES,
    STATUSES,
    WORDS_OF_TRANSPORT,
)
from gateway.telemetry.kinds import Gauge, Histogram, Reading

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping

    from prometheus_client.core import Metric

    from gateway.ports.observing import Exchange
    from gateway.telemetry.kinds import Labels

    Readings = Mapping[str, Mapping[Labels, float]]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS_BETWEEN_SAMPLES = 1.0
_OTHERS = "other"

_SIZES = [metric.size for metric in METRICS]
_WORDS = sum(_SIZES)
_LAYOUT = tuple(zip(METRICS, itertools.accumulate(_SIZES, initial=0), strict=False))
"""Each metric with its first word."""


class Metrics:
    """The metrics of a service; one worker counts in ``slot``.

    Metrics are named as in ``declared.METRICS``, with the values of their labels in the order declared there.
    """

    def __init__(self, board: Board, slot: int) -> None:
        self._board = board
        self._slot = slot
        self._words = board.claim(slot)
        self._bounds = {metric.name: metric.bounds for metric in METRICS if isinstance(metric, Histogram)}
        self._places = {
            (metric.name, *labels): start + number * metric.words_each
            for metric, start in _LAYOUT
            for number, labels in enumerate(metric.combinations)
        }
        self._watched: list[tuple[int, Callable[[], float]]] = []
        self._followed: list[tuple[int, Callable[[], float], float]] = []
        self._requests = {
            (route, method): self._places_of_requests(route, method) for route in ROUTES for method in METHODS
        }
        self._first_byte = self._places[FIRST_BYTE_SECONDS.name,]
        self.transport = self._words[:WORDS_OF_TRANSPORT]
        """The words of ``transport.tally.Way``."""
        self._forget_predecessor()
        self._registry = CollectorRegistry()
        self._reader = _Reader(board)
        self._registry.register(self._reader)
        self.watch("slipway_workers", lambda: 1.0)
        self.count("slipway_worker_starts")

    # --- counting --------------------------------------------------------------------------------

    def count(self, name: str, *labels: str, amount: float = 1.0) -> None:
        """Add to a counter."""
        self._words[self._places[name, *labels]] += amount

    def observe(self, name: str, *labels: str, value: float) -> None:
        """Add a value to a histogram."""
        self._observe(self._places[name, *labels], self._bounds[name], value)

    def count_request(self, exchange: Exchange) -> None:
        """Count a request that was answered."""
        places = self._requests.get((exchange.route, exchange.method))
        if places is None:
            places = self._requests[
                exchange.route if exchange.route in ROUTES else "none",
                exchange.method if exchange.method in METHODS else _OTHERS,
            ]
        statuses, seconds, received, sent = places
        words = self._words
        words[statuses.get(exchange.status) or statuses[0]] += 1
        self._observe(seconds, REQUEST_SECONDS.bounds, exchange.seconds)
        words[sent] += exchange.sent
        if exchange.received:
            words[received] += exchange.received
        if exchange.first_byte is not None:
            self._observe(self._first_byte, FIRST_BYTE_SECONDS.bounds, exchange.first_byte)

    # --- sampling --------------------------------------------------------------------------------

    def watch(self, name: str, read: Callable[[], float], *labels: str) -> None:
        """Take a gauge's value from here, once a second."""
        self._watched.append((self._places[name, *labels], read))

    def follow(self, name: str, read: Callable[[], float], *labels: str) -> None:
        """Add to a counter, once a second, what a number that only grows has grown by."""
        self._followed.append((self._places[name, *labels], read, 0.0))

    def sample(self) -> None:
        """Take all values."""
        for place, read in self._watched:
            self._words[place] = read()
        for number, (place, read, before) in enumerate(self._followed):
            now = read()
            self._words[place] += now - before
            self._followed[number] = place, read, now

    @asynccontextmanager
    async def sampling(self) -> AsyncIterator[None]:
        """Sample once a second as long as the context lasts; in its end this worker's gauges vanish."""
        try:
            async with in_background(self._sample_for_ever()):
                yield
        finally:
            self.sample()
            self._board.leave(self._slot)

    async def _sample_for_ever(self) -> None:
        while True:
            self.sample()
            await asyncio.sleep(_SECONDS_BETWEEN_SAMPLES)

    # --- reading ---------------------------------------------------------------------------------

    def page(self, readings: Readings = MappingProxyType({})) -> bytes:
        """Return all metrics of all workers, as Prometheus reads them, with what was read elsewhere."""
        self._reader.readings = readings
        return generate_latest(self._registry)

    # --- places ----------------------------------------------------------------------------------

    def _observe(self, place: int, bounds: tuple[float, ...], value: float) -> None:
        words = self._words
        words[place + bisect_left(bounds, value)] += 1
        words[place + len(bounds) + 1] += value

    def _places_of_requests(self, route: str, method: str) -> tuple[dict[int, int], int, int, int]:
        """Return the words of requests of a route and method: those of the statuses (0: any other), and three more."""
        places = self._places
        numbers = {status: 0 if status == _OTHERS else int(status) for status in STATUSES}
        return (
            {numbers[status]: places[REQUESTS.name, route, method, status] for status in STATUSES},
            places[REQUEST_SECONDS.name, route, method],
            places[RECEIVED_BYTES.name, route],
            places[SENT_BYTES.name, route],
        )

    def _forget_predecessor(self) -> None:
        """Clear what was true of the worker that had the slot before."""
        for metric, start in _LAYOUT:
            if isinstance(metric, Gauge):
                for place in range(start, start + metric.size):
                    self._words[place] = 0.0


class _Reader(Collector):
    """Reads the board for Prometheus' library."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self.readings: Readings = {}

    def collect(self) -> Iterable[Metric]:
        """Return all metrics."""
        regions = [(words.tolist(), lives) for words, lives in self._board.regions()]
        totals = [sum(column) for column in zip(*(words for words, _ in regions), strict=True)]
        living = [words for words, lives in regions if lives]
        for metric, start in _LAYOUT:
            if isinstance(metric, Reading):
                yield metric.show(self.readings.get(metric.name, {}))
                continue
            stop = start + metric.size
            yield metric.read(totals[start:stop], [words[start:stop] for words in living])


def new_board() -> Board:
    """Make the board of all metrics."""
    return Board(_WORDS)
