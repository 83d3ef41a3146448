"""The access log: a line for each request, in the form of all other lines, written together."""

from __future__ import annotations

import asyncio
import errno
import io
import logging
import re
import sys
from ipaddress import ip_address
from typing import TYPE_CHECKING

import orjson
import pytest

from gateway.ports.observing import Exchange
from gateway.telemetry.access import AccessLog
from gateway.telemetry.logs import JsonLines, TextLines

if TYPE_CHECKING:
    from collections.abc import Iterator

DIGEST = f"sha256:{'a' * 64}"


@pytest.fixture(autouse=True)
def logger() -> Iterator[logging.Logger]:
    """Return the logger whose level says what is wanted."""
    found = logging.getLogger("gateway.access")
    found.setLevel(logging.INFO)
    yield found
    found.setLevel(logging.NOTSET)


def exchange(request_id: str = "id", path: str = "/v2/a/b/manifests/c") -> Exchange:
    return Exchange(
        request_id,
        "GET",
        path,
        trace_id="f" * 32,
        client=ip_address("192.0.2.7"),
        access_key_id="ROBOT",
        registry="team",
        repository="a/b",
        digest=DIGEST,
        route="manifest",
        status=200,
        received=3,
        sent=1631,
        seconds=0.00125,
    )


def record(message: str) -> logging.LogRecord:
    return logging.LogRecord("gateway.access", logging.INFO, "", 0, message, None, None)


async def until_written(capsys: pytest.CaptureFixture[str]) -> str:
    while True:
        written = capsys.readouterr().err
        if written:
            return written
        await asyncio.sleep(0.01)


async def test_lines_look_like_all_others(capsys: pytest.CaptureFixture[str]) -> None:
    """A reader of the log cannot tell them from lines that the logging module has written."""
    log = AccessLog()
    log.note(exchange())
    log.flush()
    line = capsys.readouterr().err
    said = (
        f"GET /v2/a/b/manifests/c 200 1.2ms id client=192.0.2.7 key=ROBOT registry=team repository=a/b digest={DIGEST}"
        f" in=3 out=1631 trace={'f' * 32}"
    )

    time = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}"
    assert re.sub(time, "", line) == re.sub(time, "", TextLines().format(record(said))) + "\n"
    assert re.match(time, line)


async def test_lines_for_machines_say_everything(capsys: pytest.CaptureFixture[str]) -> None:
    """One object a line, with the names of all other lines and more, and null for what is not known."""
    log = AccessLog("json")
    log.note(exchange())
    log.note(Exchange("id2", "GET", "/"))
    log.flush()
    first, second = (orjson.loads(line) for line in capsys.readouterr().err.splitlines())

    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first.pop("time"))
    assert first == {
        "level": "info",
        "logger": "gateway.access",
        "message": "request",
        "request_id": "id",
        "trace_id": "f" * 32,
        "client": "192.0.2.7",
        "access_key_id": "ROBOT",
        "registry": "team",
        "repository": "a/b",
        "digest": DIGEST,
        "route": "manifest",
        "method": "GET",
        "path": "/v2/a/b/manifests/c",
        "status": 200,
        "seconds": 0.00125,
        "received_bytes": 3,
        "sent_bytes": 1631,
    }
    assert {*orjson.loads(JsonLines().format(record("something")))} <= {*second}
    unknown = ("client", "access_key_id", "registry", "repository", "digest")
    assert {second[name] for name in unknown} == {None}


@pytest.mark.parametrize("form", ["text", "json"])
async def test_a_path_is_one_word_of_one_line(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Line ends of Unicode, commands to terminals and bytes that are no text are written as escapes."""
    log = AccessLog(form)
    log.note(exchange(path="/a\u2028b\x85c\x9bd\udcff한"))
    log.flush()
    written = capsys.readouterr().err

    assert written.isascii()
    assert len(written.splitlines()) == 1
    line = orjson.loads(written)["path"] if form == "json" else written
    assert "/a\\u2028b\\x85c\\x9bd\\udcff\\ud55c" in line


async def test_every_request_is_written_soon_and_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Lines wait for their neighbours, not for ever, and keep their order."""
    log = AccessLog("json")
    for number in range(1000):
        log.note(exchange(str(number)))
        if number == 500:
            written = await until_written(capsys)
    log.flush()
    log.flush()

    lines = (written + capsys.readouterr().err).splitlines()
    assert [orjson.loads(line)["request_id"] for line in lines] == [str(number) for number in range(1000)]


async def test_the_level_says_whether_requests_are_logged(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who sets the logger's level to WARNING gets no lines."""
    logger.setLevel(logging.WARNING)
    log = AccessLog()
    log.note(exchange())
    log.flush()

    assert capsys.readouterr().err == ""


async def test_a_log_that_cannot_be_written_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk behind standard error loses lines, not requests."""

    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, text)

    monkeypatch.setattr(sys, "stderr", Full())
    log = AccessLog()
    log.note(exchange())

    log.flush()
