"""What Prometheus reads from a registry on S3 that was used in every way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import quote
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.config import Address as ListenAddress
from gateway.config import Settings
from gateway.telemetry.declared import METRICS
from support.ports import free_port
from support.postgres import new_database
from support.serving import in_the_background

from .content import noise, sha256
from .rows import Case, play, pushed
from .wire import Address, ask, connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.databases import Server
    from support.seaweed import SeaweedFS

BUCKET = "scraped"
LARGE = noise(200_000)
Samples = dict[tuple[str, ...], float]


class Scraped:
    """A registry, and its page of metrics."""

    def __init__(self, address: Address, port: int) -> None:
        self.address = address
        self._port = port

    async def samples(self) -> Samples:
        """Return the samples by name and values of labels, in the order of the labels' names."""
        with await asyncio.to_thread(urlopen, f"http://127.0.0.1:{self._port}/metrics") as page:
            text = page.read().decode()
        return {
            (sample.name, *(sample.labels[label] for label in sorted(sample.labels))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    async def until(self, holds: Callable[[Samples], bool]) -> Samples:
        """Wait for samples of which something holds: requests are counted when they are over, gauges each second."""
        async with asyncio.timeout(20):
            while not holds(found := await self.samples()):  # noqa: ASYNC110  (Prometheus does no better)
                await asyncio.sleep(0.05)
        return found


@pytest.fixture(scope="module")
def scraped(embedded_server: Server, seaweed: SeaweedFS, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    seaweed.create_bucket(BUCKET)
    port = free_port()
    settings = Settings(
        listen=ListenAddress("127.0.0.1", 0),
        metrics_listen=ListenAddress("127.0.0.1", port),
        data_dir=tmp_path_factory.mktemp("scraped"),
        database_url=new_database(embedded_server.dsn, "scraped"),
        open=True,
        **seaweed.settings(BUCKET),
    )
    with in_the_background(settings) as server:
        yield Scraped(Address(server.host, server.port), port)


async def test_a_push_and_a_pull_are_to_be_seen(scraped: Scraped) -> None:
    """Requests with their bytes and times, the first byte, and the calls to the storage."""
    target = f"/v2/a/b/blobs/uploads/?digest={quote(sha256(LARGE))}"
    assert (await ask(scraped.address, "POST", target, body=LARGE)).status == 201
    answer = await ask(scraped.address, "GET", f"/v2/a/b/blobs/{sha256(LARGE)}")
    assert answer.body == LARGE

    found = await scraped.until(lambda found: ("slipway_requests_total", "GET", "blob", "200") in found)

    assert found["slipway_received_bytes_total", "uploads"] == len(LARGE)
    assert len(LARGE) < found["slipway_sent_bytes_total", "blob"] < len(LARGE) + 2000
    assert found["slipway_blob_first_byte_seconds_count",] == 1
    assert found["slipway_request_duration_seconds_count", "GET", "blob"] == 1
    assert (
        found["slipway_request_duration_seconds_sum", "GET", "blob"] > found["slipway_blob_first_byte_seconds_sum",] > 0
    )
    assert found["slipway_s3_calls_total", "get_object", "ok"] >= 1
    assert found["slipway_s3_call_duration_seconds_count", "get_object"] >= 1
    assert found["slipway_upload_buffers_limit_bytes",] == 192 << 20


async def test_an_upload_is_to_be_seen_while_it_runs(scraped: Scraped) -> None:
    """It is in flight, and holds memory, until it ends."""
    started = await ask(scraped.address, "POST", "/v2/a/b/blobs/uploads/")
    async with connect(scraped.address) as connection:
        await connection.start("PATCH", started["Location"], [("Content-Length", "300000")])
        await connection.send(LARGE)
        during = await scraped.until(lambda found: found["slipway_uploads_in_flight",] == 1)
        assert during["slipway_upload_buffers_used_bytes",] > 0
        assert during["slipway_requests_in_flight",] == 1
        assert during["slipway_database_connections", "used"] >= 1
    after = await scraped.until(lambda found: found["slipway_uploads_in_flight",] == 0)
    assert after["slipway_requests_in_flight",] == after["slipway_upload_buffers_used_bytes",] == 0


async def test_memory_is_looked_up(scraped: Scraped) -> None:
    """Settings of registries are asked for once a second; pulls are written by the next second."""
    await play(scraped.address, {}, Case("an image", tuple(pushed("latest", repo="a/c"))))
    for _ in range(3):
        await ask(scraped.address, "GET", "/v2/a/c/manifests/latest")

    found = await scraped.until(lambda found: found["slipway_cache_lookups_total", "registries", "hit"] > 0)
    assert found["slipway_cache_lookups_total", "registries", "miss"] > 0
    found = await scraped.until(lambda found: found["slipway_pulls_unwritten",] == 0)
    assert found["slipway_pulls_unwritten_age_seconds",] == 0


async def test_every_metric_is_on_the_page(scraped: Scraped) -> None:
    """Under the names that Prometheus stores, once there was something to count."""
    names = {name for name, *_ in await scraped.samples()}

    assert names == {name for metric in METRICS for name in metric.samples}
