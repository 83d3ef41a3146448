"""Logs: one line an event, on standard error, for people or for machines."""

from __future__ import annotations

import logging
import time
from functools import lru_cache
from typing import Any

import orjson

from gateway.ports.observing import CURRENT

FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def configure_logs(form: str = "text") -> None:
    """Send log lines to standard error, as ``text`` or as ``json``; the last call counts."""
    logging.basicConfig(level=logging.INFO)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(JsonLines() if form == "json" else TextLines())
    # The libraries below us speak of every call; what matters of it is logged by us.
    for name in ("aiobotocore", "botocore", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)


class TextLines(logging.Formatter):
    """Lines for people; what happens while a request is answered ends with the request's id."""

    def __init__(self) -> None:
        super().__init__(FORMAT)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (the library's name)
        """Write the line, before the traceback if there is one."""
        line = super().formatMessage(record)
        exchange = CURRENT.get()
        return line if exchange is None else f"{line} (request {exchange.request_id})"


class JsonLines(logging.Formatter):
    """An object on each line."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        exchange = CURRENT.get()
        entry = {
            "time": json_time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": exchange.request_id if exchange else None,
            "trace_id": exchange.trace_id if exchange else None,
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json_line(entry).removesuffix("\n")


def json_time(now: float) -> str:
    """Write a time as RFC 3339 has it, in UTC, with milliseconds."""
    second = int(now)
    return f"{_second(second)}.{int((now - second) * 1000):03d}Z"


def json_line(entry: dict[str, Any]) -> str:
    """Write a line; what is no proper Unicode in a request is shown as question marks."""
    try:
        return orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE).decode()
    except TypeError:
        proper = {name: _proper(value) if isinstance(value, str) else value for name, value in entry.items()}
        return orjson.dumps(proper, option=orjson.OPT_APPEND_NEWLINE).decode()


def _proper(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


@lru_cache(maxsize=1)
def _second(second: int) -> str:
    """Write a second; lines come many to a second."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
