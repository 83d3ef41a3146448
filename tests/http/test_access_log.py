"""Every request is in the log, with the id that its answer carries."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from .wire import ask

if TYPE_CHECKING:
    import pytest

    from .rows import Names
    from .wire import Address


async def test_every_request_is_logged_under_its_id(
    registry: Address, shelf: Names, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Answers of all kinds have ids of their own, and the log has one line for each."""
    caplog.set_level(logging.INFO, "gateway.access")
    targets = ["/v2/", f"/v2/{shelf['shelf']}/manifests/latest", "/v2/no/manifests/such", "/nothing"] * 5
    answers = await asyncio.gather(*(ask(registry, "GET", target) for target in targets))

    wanted = {
        f"GET {target} {answer.status} {answer['X-Request-Id']}"
        for target, answer in zip(targets, answers, strict=True)
    }
    assert len({answer["X-Request-Id"] for answer in answers}) == len(targets)
    log = ""
    while log.count("\n") < len(targets):
        await asyncio.sleep(0)
        log += capsys.readouterr().err
    words = [line.split(": ", 1)[1].split(" ") for line in log.splitlines()]
    assert {" ".join((*line[:3], line[4])) for line in words} == wanted
