"""How blobs are delivered: by endpoint and by the client's network, over real sockets and a real S3 server."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from gateway.config import Address as ListenAddress
from gateway.config import Settings
from gateway.model.endpoints import Delivery, DeliveryRule
from gateway.model.networks import Networks
from gateway.ports.directory import RegistryChange
from support.postgres import new_database
from support.registries import LOCAL, managing
from support.serving import in_the_background

from .content import BLOB, sha256
from .wire import Address, Answer, connect, head

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.databases import Server
    from support.seaweed import SeaweedFS

BUCKETS = ("delivery-team", "delivery-default")
PATH = f"/v2/team/app/blobs/{sha256(BLOB)}"
INSIDE, PROXIED, OUTSIDE = "10.1.0.1", "10.2.0.1", "192.0.2.7"


@dataclass(frozen=True)
class Depot:
    """A server with the registry team, whose storage has one address inside and another outside."""

    address: Address
    storage_port: int
    label: str

    async def ask(self, method: str, path: str, endpoint: str, client: str, body: bytes = b"") -> Answer:
        host = "team.registries.test" if endpoint == "public" else f"{self.label}.inside.test"
        lines = [("Host", host), ("X-Forwarded-For", client), ("Content-Length", str(len(body)))]
        async with connect(self.address) as connection:
            await connection.send(head(method, path, lines) + body)
            return await connection.answer(method)


@pytest.fixture(scope="module")
def depot(embedded_server: Server, seaweed: SeaweedFS, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Depot]:
    port = urlsplit(seaweed.endpoint_url).port
    assert port is not None
    for bucket in BUCKETS:
        seaweed.create_bucket(bucket)
    settings = Settings(
        listen=ListenAddress("127.0.0.1", 0),
        data_dir=tmp_path_factory.mktemp("depot"),
        database_url=new_database(embedded_server.dsn, "depot"),
        s3_public_endpoint_url=f"http://localhost:{port}",
        s3_private_endpoint_url=f"http://127.0.0.2:{port}",
        public_domain="registries.test",
        private_domain="inside.test",
        trusted_proxies=Networks.parse(["127.0.0.0/8"]),
        open=True,
        **seaweed.settings(BUCKETS[1]),
    )
    with in_the_background(settings) as server:
        label = asyncio.run(furnished(settings))
        depot = Depot(Address(server.host, server.port), port, label)
        pushed = asyncio.run(
            depot.ask("POST", f"/v2/team/app/blobs/uploads/?digest={sha256(BLOB)}", "public", OUTSIDE, BLOB)
        )
        assert pushed.status == 201
        yield depot
    for bucket in BUCKETS[:1]:
        seaweed.delete_bucket(bucket)


async def furnished(settings: Settings) -> str:
    rules = (DeliveryRule.parse("10.1.0.0/16=redirect-private"), DeliveryRule.parse("10.2.0.0/16=proxy"))
    change = RegistryChange(private_networks=Networks(), public_delivery=Delivery.REDIRECT, delivery_rules=rules)
    async with managing(settings) as registries:
        await registries.create(LOCAL, "team", BUCKETS[0])
        return (await registries.update(LOCAL, "team", change, None)).private_label


@pytest.mark.parametrize(
    ("endpoint", "client", "storage"),
    [
        ("public", OUTSIDE, "localhost"),
        ("private", OUTSIDE, None),
        ("public", INSIDE, "127.0.0.2"),
        ("private", INSIDE, "127.0.0.2"),
        ("public", PROXIED, None),
        ("private", PROXIED, None),
    ],
)
async def test_delivery(depot: Depot, endpoint: str, client: str, storage: str | None) -> None:
    """The first rule that the client's network fits, else what the endpoint says; signed for a host it can reach."""
    answer = await depot.ask("GET", PATH, endpoint, client)

    if storage is None:
        assert (answer.status, answer.body) == (200, BLOB)
    else:
        assert answer.status == 307
        assert urlsplit(answer["Location"]).netloc == f"{storage}:{depot.storage_port}"
