"""The log of a whole service: of the supervisor and of all workers, in one form."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import orjson

from cli.registry import eventually, serving

if TYPE_CHECKING:
    from pathlib import Path

    from cli.registry import Registry


def lines(registry: Registry) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in registry.log.read_text().splitlines()]


def test_every_line_is_an_object(data_dir: Path) -> None:
    """What workers say, what the supervisor says of them, and requests."""
    with serving(data_dir, "--workers", "2", SLIPWAY_LOG_FORMAT="json") as registry:
        os.kill(victim := min(registry.workers()), signal.SIGKILL)
        eventually(lambda: len(registry.workers() - {victim}) == 2, "a successor")
        answer = registry.request("GET", "/v2/")
        request_id = answer.headers["X-Request-Id"]
        eventually(lambda: request_id in registry.log.read_text(), "the request's line")
        assert registry.stop() == 0

        said = lines(registry)
        assert [line["path"] for line in said if line["request_id"] == request_id] == ["/v2/"]
        (death,) = [line for line in said if line["logger"] == "gateway.transport.workers" and line["level"] == "error"]
        assert death["message"].startswith(f"worker {victim} ended by signal 9")


def test_the_form_changes_with_the_configuration(data_dir: Path) -> None:
    """SIGHUP takes it over, for the supervisor and the new workers."""
    config = data_dir.parent / "slipway.toml"
    config.write_text('workers = "1"')
    with serving(data_dir, "--config", str(config)) as registry:
        config.write_text('workers = "1"\nlog_format = "json"')
        registry.roll()
        request_id = registry.request("GET", "/v2/").headers["X-Request-Id"]
        eventually(lambda: request_id in registry.log.read_text(), "the request's line")

        written = registry.log.read_text().splitlines()
        rolled = next(line for line in written if "was read again" in line)
        request = next(line for line in written if request_id in line)
        assert orjson.loads(rolled)["logger"] == "gateway.transport.workers"
        assert orjson.loads(request)["status"] == 200
