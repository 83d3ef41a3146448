"""The end of a gateway behind a load balancer: announced, awaited, and with nothing lost where time runs out."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import closing
from typing import TYPE_CHECKING

from cli.registry import eventually, serving

if TYPE_CHECKING:
    from http.client import HTTPConnection
    from pathlib import Path

    from cli.registry import Registry

HALF = os.urandom(3_000_000)
CONTENT = HALF + os.urandom(3_000_000)
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
UPLOADS = "/v2/some/repository/blobs/uploads/"
BLOB = f"/v2/some/repository/blobs/{DIGEST}"


def readiness(registry: Registry) -> tuple[int, dict[str, object]]:
    answer = registry.request("GET", "/readyz")
    return answer.status, json.loads(answer.body)


def ask(connection: HTTPConnection, path: str) -> tuple[int, str | None]:
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    return answer.status, answer.headers["Connection"]


def test_the_end_is_announced(data_dir: Path) -> None:
    """For a while all workers say that they are not ready, and serve as before: whoever comes, and whoever is there."""
    with serving(data_dir, "--workers", "2", SLIPWAY_UNREADY_SECONDS="8") as registry:
        assert readiness(registry)[0] == 200
        with closing(registry.connect()) as kept:
            assert ask(kept, "/v2/") == (200, None)
            registry.process.terminate()
            unready = (503, {"status": "not ready", "parts": {"service": "draining"}})
            for worker in registry.workers():
                eventually(
                    lambda pid=worker: registry.by_another_than(pid, "GET", "/readyz").status == 503,  # type: ignore[misc]
                    "each worker to say so",
                )
            assert readiness(registry) == unready
            with closing(registry.connect()) as new:
                assert ask(new, "/v2/") == (200, "close")
            assert ask(kept, "/v2/") == (200, "close")
        assert registry.process.wait(60) == 0


def test_an_upload_that_takes_too_long_goes_on_elsewhere(data_dir: Path) -> None:
    """It is cut off with 503 where something durable ends, and continued from there after another start."""
    with serving(data_dir, "--workers", "1", SLIPWAY_DRAIN_SECONDS="1") as registry:
        session = registry.request("POST", UPLOADS, Content_Length="0").location
        with closing(registry.connect()) as connection:
            connection.putrequest("PATCH", session)
            connection.putheader("Content-Range", f"0-{len(CONTENT) - 1}")
            connection.putheader("Content-Length", str(len(CONTENT)))
            connection.endheaders()
            connection.send(HALF)
            registry.worker_of(connection)
            registry.process.terminate()
            answer = connection.getresponse()
            assert (answer.status, answer.headers["Connection"]) == (503, "close")
            assert json.loads(answer.read())["errors"][0]["code"] == "UNAVAILABLE"
        assert registry.process.wait(60) == 0
        assert "ERROR" not in registry.log.read_text()

    with serving(data_dir, "--workers", "1") as registry:
        kept = int(registry.request("GET", session).headers["Range"].partition("-")[2]) + 1
        assert 1 < kept <= len(HALF)
        rest = CONTENT[kept:]
        patched = registry.request("PATCH", session, rest, Content_Range=f"{kept}-{len(CONTENT) - 1}")
        assert patched.status == 202
        assert registry.request("PUT", f"{session}?digest={DIGEST}", Content_Length="0").status == 201
        assert registry.request("GET", BLOB).body == CONTENT
