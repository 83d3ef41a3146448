"""The access log: one line for each request, written to standard error together with its neighbours."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from functools import lru_cache
from typing import TYPE_CHECKING

from gateway.telemetry.logs import json_line, json_time

if TYPE_CHECKING:
    from gateway.ports.observing import Exchange

_NAME = "gateway.access"
_log = logging.getLogger(_NAME)
_SECONDS_TOGETHER = 0.1

_text_of = lru_cache(maxsize=4096)(str)


@lru_cache(maxsize=1)
def _second(second: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))


class AccessLog:
    """Writes lines in the form of all others (telemetry/logs.py) without a log record for each.

    A record costs 9 µs, a line here 2 to 3 µs (docs/performance.md). Lines are at most a tenth of a second late, and
    those of a killed process's last tenth are lost. The logger ``gateway.access`` says whether they are wanted.
    """

    def __init__(self, form: str = "text") -> None:
        self._ended: list[tuple[float, Exchange]] = []
        self._line = _Json() if form == "json" else _Text()

    def note(self, exchange: Exchange) -> None:
        """Log a request that was answered."""
        if not _log.isEnabledFor(logging.INFO):
            return
        if not self._ended:
            asyncio.get_running_loop().call_later(_SECONDS_TOGETHER, self.flush)
        self._ended.append((time.time(), exchange))

    def flush(self) -> None:
        """Write what was noted."""
        ended, self._ended = self._ended, []
        line = self._line.of
        try:
            sys.stderr.write("".join([line(now, exchange) for now, exchange in ended]))
            sys.stderr.flush()
        except OSError:
            # As with every other log line: a full disk or a reader that has left stops no request.
            _log.debug("%d lines of the access log are lost", len(ended))


class _Text:
    """Lines for people, with a hyphen for what is not known."""

    def of(self, now: float, exchange: Exchange) -> str:
        second = int(now)
        return (
            f"{_second(second)},{int((now - second) * 1000):03d} INFO    {_NAME}: "
            f"{exchange.method} {_shown(exchange.path)} {exchange.status} {exchange.seconds * 1000:.1f}ms "
            f"{exchange.request_id} client={_text_of(exchange.client)} key={exchange.access_key_id or '-'} "
            f"registry={exchange.registry or '-'} repository={exchange.repository or '-'} "
            f"digest={exchange.digest or '-'} in={exchange.received} out={exchange.sent} trace={exchange.trace_id}\n"
        )


class _Json:
    """Lines for machines; every line has every name."""

    def of(self, now: float, exchange: Exchange) -> str:
        return json_line(
            {
                "time": json_time(now),
                "level": "info",
                "logger": _NAME,
                "message": "request",
                "request_id": exchange.request_id,
                "trace_id": exchange.trace_id,
                "client": _text_of(exchange.client) if exchange.client else None,
                "access_key_id": exchange.access_key_id or None,
                "registry": exchange.registry or None,
                "repository": exchange.repository or None,
                "digest": exchange.digest or None,
                "route": exchange.route,
                "method": exchange.method,
                "path": _shown(exchange.path),
                "status": exchange.status,
                "seconds": round(exchange.seconds, 6),
                "received_bytes": exchange.received,
                "sent_bytes": exchange.sent,
            }
        )


def _shown(path: str) -> str:
    """Write a path so that it cannot be taken for anything but a word of a line, on a terminal either."""
    return path if path.isascii() else path.encode("ascii", "backslashreplace").decode()
