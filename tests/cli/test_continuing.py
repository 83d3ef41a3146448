"""A worker is killed in the middle of a body: another one goes on, on files and on S3, and the blob is right."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import signal
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg
import pytest

from cli.registry import Registry, eventually, serving
from gateway.db.embedded import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.seaweed import SeaweedFS

CONTENT = random.Random(11).randbytes(100_000_000)
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
SENT = 90_000_000
"""More than 64 MiB, after which files note what is durable."""
UPLOADS = "/v2/some/repository/blobs/uploads/"
BLOB = f"/v2/some/repository/blobs/{DIGEST}"


@dataclass(frozen=True)
class Service:
    """A registry, and a look into its database."""

    registry: Registry
    data_dir: Path

    def progress(self) -> int:
        """Return how many bytes of the only session are durable."""
        with EmbeddedPostgres.acquire(self.data_dir) as postgres:
            return asyncio.run(_progress(postgres.dsn))


async def _progress(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        found: int = await connection.fetchval("SELECT progress_solid FROM upload_sessions")
        return found
    finally:
        await connection.close()


@pytest.fixture(params=["filesystem", "s3"])
def service(request: pytest.FixtureRequest, data_dir: Path) -> Iterator[Service]:
    """A registry of two workers."""
    environment = {}
    if request.param == "s3":
        s3: SeaweedFS = request.getfixturevalue("seaweed")
        bucket = f"continuing-{random.randrange(10**9)}"
        s3.create_bucket(bucket)
        environment = s3.environment(bucket)
    with serving(data_dir, "--workers", "2", **environment) as registry:
        yield Service(registry, data_dir)


def break_off(service: Service, session: str, **headers: str) -> None:
    """Send the beginning of a body, wait until some of it is durable, and kill the worker that receives it."""
    registry = service.registry
    with closing(registry.connect()) as connection:
        worker = registry.worker_of(connection)
        connection.putrequest("PATCH", session)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        connection.send(CONTENT[:SENT])
        eventually(lambda: service.progress() > 0, "a durable beginning")
        os.kill(worker, signal.SIGKILL)
    eventually(lambda: f"worker {worker} ended" in registry.log.read_text(), "the end to be noticed")
    eventually(lambda: len(registry.workers() - {worker}) == 2, "a successor")


def test_a_ranged_chunk_goes_on_where_it_was_cut(service: Service) -> None:
    """The session tells how much is durable; the client continues from exactly there."""
    registry = service.registry
    session = registry.request("POST", UPLOADS, Content_Length="0").location
    break_off(service, session, Content_Range=f"0-{len(CONTENT) - 1}", Content_Length=str(len(CONTENT)))

    def held() -> int:
        status = registry.request("GET", session)
        assert status.status == 204
        return int(status.headers["Range"].partition("-")[2]) + 1

    # The successor of the dead worker gives its lease back a moment after it was started.
    eventually(lambda: held() > 1, "the durable beginning")
    begin = held()
    assert begin <= SENT
    rest = registry.request("PATCH", session, CONTENT[begin:], Content_Range=f"{begin}-{len(CONTENT) - 1}")
    assert rest.status == 202
    separator = "&" if "?" in rest.location else "?"
    assert registry.request("PUT", f"{rest.location}{separator}digest={DIGEST}", Content_Length="0").status == 201
    assert registry.request("GET", BLOB).body == CONTENT


def test_a_whole_body_is_sent_again_in_the_same_session(service: Service) -> None:
    """A body without Content-Range starts where the last answered request has ended: here from the beginning."""
    registry = service.registry
    session = registry.request("POST", UPLOADS, Content_Length="0").location
    break_off(service, session, Content_Length=str(len(CONTENT)))

    again = registry.request("PATCH", session, CONTENT)
    assert again.status == 202
    assert again.headers["Range"] == f"0-{len(CONTENT) - 1}"
    separator = "&" if "?" in again.location else "?"
    assert registry.request("PUT", f"{again.location}{separator}digest={DIGEST}", Content_Length="0").status == 201
    assert registry.request("GET", BLOB).body == CONTENT
