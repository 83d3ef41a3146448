"""The access log: a line for each request, in the form of all other lines, written together."""

from __future__ import annotations

import asyncio
import errno
import io
import logging
import re
import sys
from typing import TYPE_CHECKING

import pytest

from gateway.telemetry.access import AccessLog
from gateway.telemetry.logs import FORMAT

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def logger() -> Iterator[logging.Logger]:
    """Return the logger whose level says what is wanted."""
    found = logging.getLogger("gateway.access")
    found.setLevel(logging.INFO)
    yield found
    found.setLevel(logging.NOTSET)


async def until_written(capsys: pytest.CaptureFixture[str]) -> str:
    while True:
        written = capsys.readouterr().err
        if written:
            return written
        await asyncio.sleep(0.01)


async def test_lines_look_like_all_others(capsys: pytest.CaptureFixture[str]) -> None:
    """A reader of the log cannot tell them from lines that the logging module has written."""
    log = AccessLog()
    log.note("GET", "/v2/a/manifests/b", 200, 0.00125, "id")
    log.flush()
    line = capsys.readouterr().err
    record = logging.LogRecord("gateway.access", logging.INFO, "", 0, "GET /v2/a/manifests/b 200 1.2ms id", None, None)

    time = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}"
    assert re.sub(time, "", line) == re.sub(time, "", logging.Formatter(FORMAT).format(record)) + "\n"
    assert re.match(time, line)


async def test_every_request_is_written_soon_and_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Lines wait for their neighbours, not for ever, and keep their order."""
    log = AccessLog()
    for number in range(1000):
        log.note("GET", "/", 200, 0, str(number))
        if number == 500:
            written = await until_written(capsys)
    log.flush()
    log.flush()

    lines = (written + capsys.readouterr().err).splitlines()
    assert [line.rpartition(" ")[2] for line in lines] == [str(number) for number in range(1000)]


async def test_the_level_says_whether_requests_are_logged(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who sets the logger's level to WARNING gets no lines."""
    logger.setLevel(logging.WARNING)
    log = AccessLog()
    log.note("GET", "/", 200, 0, "id")
    log.flush()

    assert capsys.readouterr().err == ""


async def test_a_log_that_cannot_be_written_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk behind standard error loses lines, not requests."""

    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, text)

    monkeypatch.setattr(sys, "stderr", Full())
    log = AccessLog()
    log.note("GET", "/", 200, 0, "id")

    log.flush()
