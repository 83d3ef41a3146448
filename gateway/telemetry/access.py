"""The access log: one line for each request, written to standard error together with its neighbours."""

from __future__ import annotations

import asyncio
import logging
import sys
import time

_log = logging.getLogger("gateway.access")
_SECONDS_TOGETHER = 0.1


class AccessLog:
    """Writes lines in the form of all others (telemetry/logs.py) without a log record for each.

    A record costs 9 µs, a line here 1 µs (docs/decisions/0010). Lines are at most a tenth of a second late, and
    those of a killed process's last tenth are lost. The logger ``gateway.access`` says whether they are wanted.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._second = 0
        self._time = ""

    def note(self, method: str, path: str, status: int, seconds: float, request_id: str) -> None:
        """Log a request that was answered."""
        if not _log.isEnabledFor(logging.INFO):
            return
        if not self._lines:
            asyncio.get_running_loop().call_later(_SECONDS_TOGETHER, self.flush)
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second, self._time = second, time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
        self._lines.append(
            f"{self._time},{int((now - second) * 1000):03d} INFO    gateway.access: "
            f"{method} {path} {status} {seconds * 1000:.1f}ms {request_id}\n"
        )

    def flush(self) -> None:
        """Write what was noted."""
        lines, self._lines = self._lines, []
        try:
            sys.stderr.write("".join(lines))
            sys.stderr.flush()
        except OSError:
            # As with every other log line: a full disk or a reader that has left stops no request.
            _log.debug("%d lines of the access log are lost", len(lines))
