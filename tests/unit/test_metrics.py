"""Metrics: what workers count in shared memory is added up, and is what the page and the documentation say."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from gateway.telemetry.metrics import COUNTERS, WORDS_OF_TRANSPORT, Metrics, new_board
from gateway.transport.tally import Way

_DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"


def values(page: bytes) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *(sample.labels[label] for label in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def test_workers_add_up() -> None:
    """Whoever is asked tells the numbers of all; a worker in a slot that was used before goes on there."""
    board = new_board()
    first, second, successor = Metrics(board, 0), Metrics(board, 1), Metrics(board, 1)

    for metrics in (first, second, successor):
        metrics.count_request("blob", "GET", 200)
    second.transport[Way.SENT_BY_SPLICE] += 5

    found = values(first.page())
    assert found["slipway_requests_total", "GET", "blob", "200"] == 3
    assert found["slipway_contents_sent_total", "splice"] == 5
    assert found["slipway_self_tests_failed_total", "splice"] == 0
    assert first.page() == successor.page()


def test_what_nobody_thought_of_is_counted_too() -> None:
    """Any method and any status; labels stay few, whatever clients send."""
    metrics = Metrics(new_board(), 0)

    metrics.count_request("elsewhere", "BREW", 418)

    assert values(metrics.page())["slipway_requests_total", "other", "none", "other"] == 1


def test_ways_have_their_words() -> None:
    """The first words are those that transport counts in, each under its own label."""
    assert len(Way) == WORDS_OF_TRANSPORT
    metrics = Metrics(new_board(), 0)
    for way in Way:
        metrics.transport[way] = way + 1

    found = values(metrics.page())

    assert [found[key] for key in found if key[0] != "slipway_requests_total"] == [way + 1 for way in Way]
    assert found["slipway_bodies_received_total", "parser"] == Way.RECEIVED_BY_PARSER + 1
    assert found["slipway_self_tests_failed_total", "receiving"] == Way.RECEIVING_FAILED + 1


def test_every_metric_is_documented() -> None:
    """The table of the documentation has each metric with its labels, and no other."""
    rows = re.findall(r"^\| `(slipway_\w+)_total` \| ([^|]+) \|", _DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)

    documented = {name: tuple(re.findall(r"`(\w+)`", labels)) for name, labels in rows}

    assert documented == {counter.name: counter.labels for counter in COUNTERS}
