"""What do the access log and the metrics cost: each request, and each time that Prometheus reads the page?"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING

from bench.harness.options import options, parser
from bench.harness.report import Report
from gateway.ports.observing import CURRENT, Exchange
from gateway.telemetry.access import AccessLog
from gateway.telemetry.declared import METHODS, ROUTES
from gateway.telemetry.metrics import Metrics, new_board

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.harness.report import Figures

_TOGETHER = 500
"""Requests whose lines are written at once: those of a tenth of a second at 5,000 a second."""


def main() -> None:
    """Measure and print."""
    chosen = options(parser(__doc__).parse_args(), repeat=7, short_repeat=3)
    rounds = 40 if chosen.short else 200
    report = Report("observing", chosen, {"requests": rounds * _TOGETHER})
    logging.getLogger("gateway.access").setLevel(logging.INFO)
    metrics, text, lines = Metrics(new_board(), 0), AccessLog(), AccessLog("json")
    observers: dict[str, tuple[Callable[[Exchange], None], ...]] = {
        "the record alone": (),
        "metrics": (metrics.count_request,),
        "log, text": (text.note,),
        "log, JSON": (lines.note,),
        "metrics and log, text": (metrics.count_request, text.note),
    }
    flush = {"log, text": text, "log, JSON": lines, "metrics and log, text": text}
    report.compare(
        "a request",
        {name: partial(_requests, told, flush.get(name), rounds) for name, told in observers.items()},
    )
    used = _used()
    report.compare("a page", {"one route used": partial(_page, metrics), "every route used": partial(_page, used)})
    report.finish()


def _requests(observers: tuple[Callable[[Exchange], None], ...], log: AccessLog | None, rounds: int) -> Figures:
    async def run() -> float:
        begin = time.process_time()
        for _ in range(rounds):
            for number in range(_TOGETHER):
                exchange = _exchange(number)
                for observe in observers:
                    observe(exchange)
                CURRENT.set(None)
            if log is not None:
                log.flush()
        return time.process_time() - begin

    with open(os.devnull, "w", encoding="utf-8") as sink, contextlib.redirect_stderr(sink):  # noqa: PTH123
        seconds = asyncio.run(run())
    return {"microseconds": seconds / rounds / _TOGETHER * 1e6}


_CLIENTS = [ip_address(f"10.0.{number >> 8}.{number & 255}") for number in range(1000)]
_DIGEST = f"sha256:{'a' * 64}"


def _exchange(number: int) -> Exchange:
    """Make and fill in what http/api.py does for a manifest by tag."""
    exchange = Exchange(
        f"abcdef01{number:08x}", "GET", "/v2/bench/r17/manifests/t205", f"0123456789abcdef{number:0>16x}"
    )
    CURRENT.set(exchange)
    exchange.client = _CLIENTS[number]
    exchange.registry = "default"
    exchange.route = "manifest"
    exchange.repository = "bench/r17"
    exchange.access_key_id = "SWABCDEFGH0123456789"
    exchange.status = 200
    exchange.digest = _DIGEST
    exchange.sent = 1631
    exchange.seconds = 0.0013
    return exchange


def _used() -> Metrics:
    metrics = Metrics(new_board(), 0)
    for route in ROUTES:
        for method in METHODS:
            for status in (200, 404, 503):
                metrics.count_request(Exchange("", method, "", route=route, status=status))
    return metrics


def _page(metrics: Metrics) -> Figures:
    begin = time.process_time()
    metrics.page()
    return {"milliseconds": (time.process_time() - begin) * 1e3}


if __name__ == "__main__":
    main()
