"""Traces: one for each request, with the calls to storage and database that it has made."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from gateway.config import Address as ListenAddress
from gateway.config import Settings
from gateway.model.networks import Networks
from support.otlp import Collector, Received, collecting
from support.postgres import new_database
from support.serving import in_the_background

from .content import BLOB, noise, sha256
from .wire import Address, ask, connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.databases import Server
    from support.seaweed import SeaweedFS

BUCKET = "traced"
LARGE = noise(300_000)
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Traced:
    """A registry on S3 that sends traces to a collector."""

    def __init__(self, address: Address, collector: Collector) -> None:
        self.address = address
        self.collector = collector

    async def arrived(self, name: str) -> Received:
        return (await asyncio.to_thread(self.collector.wait_for, name))[-1]


@pytest.fixture(scope="module")
def server(embedded_server: Server, seaweed: SeaweedFS, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    seaweed.create_bucket(BUCKET)
    settings = Settings(
        listen=ListenAddress("127.0.0.1", 0),
        data_dir=tmp_path_factory.mktemp("traced"),
        database_url=new_database(embedded_server.dsn, "traced"),
        trusted_proxies=Networks.parse(["127.0.0.1"]),
        open=True,
        **seaweed.settings(BUCKET),
    )
    with collecting() as collector, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        patch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=tests")
        with in_the_background(settings) as running:
            yield Traced(Address(running.host, running.port), collector)


@pytest.fixture
def traced(server: Traced) -> Traced:
    """The server, of which nothing is known yet."""
    server.collector.spans.clear()
    return server


async def test_a_push_is_one_trace(traced: Traced) -> None:
    """The request, and below it each statement and each call to S3, whichever task has made it."""
    target = f"/v2/a/b/blobs/uploads/?digest={quote(sha256(LARGE))}"
    answer = await ask(traced.address, "POST", target, body=LARGE)
    assert answer.status == 201
    request = await traced.arrived("POST uploads")
    children = traced.collector.children(request)
    names = [child.name for child in children]

    assert request.parent_id == ""
    assert not request.is_error
    assert request.attributes["http.response.status_code"] == 201
    assert request.attributes["url.path"] == "/v2/a/b/blobs/uploads/"
    assert request.attributes["http.request.body.size"] == len(LARGE)
    assert request.attributes["slipway.request_id"] == answer["X-Request-Id"]
    assert request.attributes["slipway.digest"] == sha256(LARGE)
    assert request.resource["service.name"] == "slipway"
    assert request.resource["deployment.environment.name"] == "tests"
    assert names.count("put_object") == 1
    assert {"start_upload", "acquire_upload", "begin", "commit"} <= {*names}
    systems = {child.attributes.get("db.system.name", child.attributes.get("rpc.service")) for child in children}
    assert systems == {"postgresql", "S3"}
    assert all(0 < child.seconds <= request.seconds for child in children)


async def test_a_lookup_belongs_to_who_has_asked(traced: Traced) -> None:
    """Although the statement travels for many requests on a connection of its own."""
    for _ in range(2):
        assert (await ask(traced.address, "GET", f"/v2/a/b/blobs/{sha256(BLOB)}")).status == 404

    for request in await asyncio.to_thread(traced.collector.wait_for, "GET blob", 2):
        assert "fetch_blobs" in [child.name for child in traced.collector.children(request)]


async def test_work_without_a_request_leaves_no_span(traced: Traced) -> None:
    """Neither leases, counters and collectors, nor lookups' own statements."""
    await ask(traced.address, "GET", f"/v2/a/b/blobs/{sha256(BLOB)}")
    await traced.arrived("GET blob")
    await ask(traced.address, "GET", "/v2/")
    await traced.arrived("GET ping")

    roots = {span.span_id for span in traced.collector.spans if not span.parent_id}
    assert {span.name for span in traced.collector.spans if span.span_id in roots} == {"GET blob", "GET ping"}
    assert {span.parent_id for span in traced.collector.spans} <= {"", *roots}


async def test_a_proxys_trace_goes_on(traced: Traced) -> None:
    """The request becomes a part of it; one that is not kept there is not kept here."""
    for sampled, method in (("00", "HEAD"), ("01", "GET")):
        headers = [("traceparent", f"00-{TRACE}-{SPAN}-{sampled}")]
        assert (await ask(traced.address, method, "/v2/", headers=headers)).status == 200
    span = await traced.arrived("GET ping")

    assert (span.trace_id, span.parent_id) == (TRACE, SPAN)
    assert traced.collector.named("HEAD ping") == []


async def test_failures_are_marked(
    traced: Traced, seaweed: SeaweedFS, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By the type of the error alone, since what it says may hold anything."""
    monkeypatch.setattr("gateway.storage.s3.S3Storage._limit", lambda *_: 0.0)
    target = f"/v2/a/b/blobs/uploads/?digest={quote(sha256(BLOB))}"
    async with connect(traced.address) as connection:
        answer = await connection.request("POST", target, body=BLOB)
    assert answer.status == 503
    request = await traced.arrived("POST uploads")
    (call,) = [child for child in traced.collector.children(request) if child.name == "put_object"]

    assert request.is_error
    assert call.is_error
    assert call.attributes["error.type"] == "StorageUnavailable"
    assert seaweed.secret_key not in repr(traced.collector.spans)
    # This failure was wanted.
    caplog.clear()
