"""Log lines of all kinds: for people and for machines, each with the request that it belongs to."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import orjson
import pytest

from gateway.ports.observing import CURRENT, Exchange
from gateway.telemetry.logs import JsonLines, TextLines, configure_logs

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def request_r1() -> Iterator[None]:
    """Work for a request."""
    token = CURRENT.set(Exchange("r1", "GET", "/", trace_id="t1"))
    yield
    CURRENT.reset(token)


def failed(message: str = "no %s") -> logging.LogRecord:
    error = ValueError("because\nof that")
    return logging.LogRecord(
        "gateway.here", logging.ERROR, "", 0, message, ("luck",), (type(error), error, error.__traceback__)
    )


@pytest.mark.usefixtures("request_r1")
def test_lines_for_people_end_with_the_request() -> None:
    """The id stands behind the sentence, and the traceback below."""
    first, *rest = TextLines().format(failed()).splitlines()

    assert first.endswith("ERROR   gateway.here: no luck (request r1)")
    assert rest[-2:] == ["ValueError: because", "of that"]


def test_lines_outside_of_requests_name_none() -> None:
    """Nothing is added to them."""
    assert TextLines().format(failed()).splitlines()[0].endswith("gateway.here: no luck")
    assert orjson.loads(JsonLines().format(failed()))["request_id"] is None


@pytest.mark.usefixtures("request_r1")
def test_lines_for_machines_are_one_line_each() -> None:
    """A traceback is a text within the object, and what is no text does not break it."""
    line = JsonLines().format(failed("no %s \udcff"))
    entry = orjson.loads(line)

    assert "\n" not in line
    assert entry["exception"].endswith("ValueError: because\nof that")
    assert entry.pop("time").endswith("Z")
    del entry["exception"]
    assert entry == {
        "level": "error",
        "logger": "gateway.here",
        "message": "no luck ?",
        "request_id": "r1",
        "trace_id": "t1",
    }


@pytest.mark.usefixtures("request_r1")
async def test_work_that_a_request_starts_belongs_to_it() -> None:
    """A task that sends a part logs under the request's id."""

    async def work() -> str:
        return TextLines().format(failed())

    assert "(request r1)" in await asyncio.create_task(work())


def test_the_form_can_be_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGHUP may bring another one: the last call counts."""
    handler = logging.StreamHandler()
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])

    configure_logs("json")
    assert orjson.loads(handler.format(failed()))["message"] == "no luck"
    configure_logs()
    assert "ERROR   gateway.here: no luck" in handler.format(failed())
