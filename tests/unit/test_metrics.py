"""Metrics: what workers write into shared memory is put together, and is what the page and the documentation say."""

from __future__ import annotations

import os
import re
from functools import partial
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.app.cleaning import tally_of
from gateway.model.collection import Event
from gateway.ports.observing import Exchange
from gateway.telemetry.board import Board
from gateway.telemetry.declared import METRICS, ROUTES, WORDS_OF_TRANSPORT
from gateway.telemetry.kinds import Counter, Gauge, Histogram, Reading
from gateway.telemetry.metrics import Metrics, new_board
from gateway.transport.tally import Way

_DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"


def values(page: bytes) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *(sample.labels[label] for label in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def request(route: str = "blob", method: str = "GET", status: int = 200, **more: float) -> Exchange:
    exchange = Exchange("", method, "", route=route, status=status)
    for name, value in more.items():
        setattr(exchange, name, value)
    return exchange


def ended_child() -> int:
    """Return the id of a process that is gone."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return child


def test_workers_add_up() -> None:
    """Whoever is asked tells the numbers of all; a worker in a slot that was used before goes on there."""
    board = new_board()
    first, second, successor = Metrics(board, 0), Metrics(board, 1), Metrics(board, 1)

    for metrics in (first, second, successor):
        metrics.count_request(request(received=10, sent=100))
    second.transport[Way.SENT_BY_SPLICE] += 5

    found = values(first.page())
    assert found["slipway_requests_total", "GET", "blob", "200"] == 3
    assert found["slipway_received_bytes_total", "blob"] == 30
    assert found["slipway_sent_bytes_total", "blob"] == 300
    assert found["slipway_contents_sent_total", "splice"] == 5
    assert found["slipway_self_tests_failed_total", "splice"] == 0
    assert found["slipway_worker_starts_total",] == 3
    assert first.page() == successor.page()


def test_what_nobody_thought_of_is_counted_too() -> None:
    """Any method and any status; labels stay few, whatever clients send."""
    metrics = Metrics(new_board(), 0)

    metrics.count_request(request("elsewhere", "BREW", 418))

    assert values(metrics.page())["slipway_requests_total", "other", "none", "other"] == 1


def test_times_are_in_their_buckets() -> None:
    """Buckets are cumulative, a bound belongs to its bucket, and what is above all bounds is in the last."""
    metrics = Metrics(new_board(), 0)
    for seconds in (0.0, 0.001, 0.0011, 1000.0):
        metrics.count_request(request(seconds=seconds))
    metrics.count_request(request(first_byte=0.02))

    found = values(metrics.page())

    def bucket(bound: str) -> float:
        return found["slipway_request_duration_seconds_bucket", bound, "GET", "blob"]

    assert [bucket("0.001"), bucket("0.0025"), bucket("300"), bucket("+Inf")] == [3, 4, 4, 5]
    assert found["slipway_request_duration_seconds_count", "GET", "blob"] == 5
    assert found["slipway_request_duration_seconds_sum", "GET", "blob"] == pytest.approx(1000.0021)
    assert found["slipway_blob_first_byte_seconds_bucket", "0.01"] == 0
    assert found["slipway_blob_first_byte_seconds_bucket", "0.025"] == 1
    assert found["slipway_blob_first_byte_seconds_count",] == 1


def test_gauges_are_those_of_living_workers() -> None:
    """A worker that was killed takes its gauges along and leaves its counters; so does one that ends."""
    board = new_board()
    alive, killed = Metrics(board, 0), Metrics(board, 1)
    for metrics, number in ((alive, 2.0), (killed, 40.0)):
        metrics.watch("slipway_requests_in_flight", partial(float, number))
        metrics.sample()

    assert values(alive.page())["slipway_requests_in_flight",] == 42
    board._owners[1] = ended_child()
    found = values(alive.page())
    assert found["slipway_requests_in_flight",] == 2
    assert found["slipway_workers",] == 1
    assert found["slipway_worker_starts_total",] == 2


async def test_a_worker_that_ends_leaves_by_itself() -> None:
    """What it has counted in the last moment counts, and its gauges are gone."""
    board = new_board()
    staying, ending = Metrics(board, 0), Metrics(board, 1)
    staying.sample()
    seen = [0]
    async with ending.sampling():
        ending.follow("slipway_worker_starts", lambda: seen[0])
        ending.sample()
        assert values(staying.page())["slipway_workers",] == 2
        seen[0] = 7

    found = values(staying.page())
    assert found["slipway_workers",] == 1
    assert found["slipway_worker_starts_total",] == 2 + 7


def test_a_successor_starts_with_no_gauges() -> None:
    """What was true of the worker before is forgotten, even before anything is sampled."""
    board = new_board()
    killed = Metrics(board, 0)
    killed.watch("slipway_requests_in_flight", lambda: 9.0)
    killed.sample()

    assert values(Metrics(board, 0).page())["slipway_requests_in_flight",] == 0


def test_a_number_that_is_followed_adds_what_it_grows_by() -> None:
    """As often as it is sampled."""
    metrics = Metrics(new_board(), 0)
    numbers = iter([3, 3, 10])
    metrics.follow("slipway_worker_starts", lambda: next(numbers))
    for _ in range(3):
        metrics.sample()

    assert values(metrics.page())["slipway_worker_starts_total",] == 1 + 10


def test_a_board_shows_slots_that_were_claimed_only() -> None:
    """Others would cost memory by being looked at."""
    board = Board(4)
    assert list(board.regions()) == []
    board.claim(3)[2] = 5.0

    ((words, lives),) = board.regions()
    assert (words.tolist(), lives) == ([0.0, 0.0, 5.0, 0.0], True)


def test_ways_have_their_words() -> None:
    """The first words are those that transport counts in, each under its own label."""
    assert len(Way) == WORDS_OF_TRANSPORT
    metrics = Metrics(new_board(), 0)
    for way in Way:
        metrics.transport[way] = way + 1

    found = values(metrics.page())

    names = ("slipway_bodies_received_total", "slipway_contents_sent_total", "slipway_self_tests_failed_total")
    assert [found[key] for key in found if key[0] in names] == [way + 1 for way in Way]
    assert found["slipway_bodies_received_total", "parser"] == Way.RECEIVED_BY_PARSER + 1
    assert found["slipway_self_tests_failed_total", "receiving"] == Way.RECEIVING_FAILED + 1


def test_what_is_read_elsewhere_is_shown_where_it_is_known() -> None:
    """By whoever is asked, and only then."""
    metrics = Metrics(new_board(), 0)

    found = values(metrics.page({"slipway_collection_queue": {("object",): 3.0}}))

    assert found["slipway_collection_queue", "object"] == 3
    assert ("slipway_collection_queue", "manifest") not in found
    assert not [key for key in values(metrics.page()) if key[0].startswith("slipway_collection_")]


def test_everything_that_is_cleaned_up_is_counted() -> None:
    """Each event under a name and label of its own."""
    metrics = Metrics(new_board(), 0)
    tally = tally_of(metrics)
    for number, event in enumerate(Event, 1):
        tally(event, number)

    found = values(metrics.page())

    names = ("slipway_collected_total", "slipway_removed_objects_total", "slipway_freed_bytes_total")
    counted = [found[key] for key in found if key[0] in (*names, "slipway_cleaning_errors_total")]
    assert sorted(counted) == list(range(1, len(Event) + 1))
    assert found["slipway_freed_bytes_total",] == list(Event).index(Event.FREED_BYTES) + 1
    assert found["slipway_collected_total", "blob"] == list(Event).index(Event.BLOBS) + 1


def test_names_are_as_prometheus_wants_them() -> None:
    """One prefix, base units, and no suffix that the kind adds by itself; labels are bounded."""
    for metric in METRICS:
        assert re.fullmatch(r"slipway_[a-z0-9_]+", metric.name)
        assert not metric.name.endswith(("_total", "_count", "_sum", "_bucket", "_milliseconds", "_ms", "_kib"))
        assert isinstance(metric, Counter | Gauge | Histogram | Reading)
        assert not isinstance(metric, Histogram) or metric.name.endswith(("_seconds", "_bytes"))
        assert len(metric.combinations) <= 12 * 7 * 26, metric.name
        assert metric.help.endswith(".")
    assert len({metric.name for metric in METRICS}) == len(METRICS)


def test_every_route_has_a_name() -> None:
    """Routes of the registry API are known to the metrics."""
    from gateway.http.routes import _ROUTES  # noqa: PLC0415  (telemetry and http do not know each other)

    assert {route.name for route in _ROUTES} <= {*ROUTES}


def test_every_metric_is_documented() -> None:
    """The tables of the documentation have each metric with its labels, and no other."""
    rows = re.findall(r"^\| `(slipway_\w+)` \|([^|]*)\|", _DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)

    documented = {name: tuple(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
    declared = {metric.name + ("_total" if isinstance(metric, Counter) else ""): metric for metric in METRICS}

    assert documented == {name: tuple(metric.labels) for name, metric in declared.items()}
    assert len(rows) == len(documented)
