"""Which registry a request is for: hosts, endpoints, networks and what proxies say, over real sockets."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from gateway.config import Address as ListenAddress
from gateway.config import Settings
from gateway.model.networks import Networks
from gateway.ports.directory import RegistryChange
from support.accounts import Key
from support.postgres import new_database
from support.registries import LOCAL, managing
from support.serving import in_the_background

from .content import BLOB, OCI_INDEX, sha256
from .wire import Address, Answer, Connection, connect, head

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from support.databases import Server

PUBLIC, PRIVATE, CONSOLE = "registries.test", "inside.test", "console.test"
NOBODY = f"absent.{PUBLIC}"
INSIDE, OUTSIDE = "10.1.2.3", "192.0.2.7"

Headers = list[tuple[str, str]]


@dataclass(frozen=True)
class House:
    """A server with the registries alpha, beta, closed and narrow."""

    settings: Settings
    address: Address
    root: Key
    labels: dict[str, str]

    async def ask(
        self, method: str, path: str, headers: Sequence[tuple[str, str]] = (), body: bytes = b"", *, login: bool = True
    ) -> Answer:
        """Send exactly these headers, and credentials and a length."""
        login_line = [("Authorization", self.root.basic)] if login else []
        lines = [*headers, *login_line, ("Content-Length", str(len(body))), ("Connection", "close")]
        async with connect(self.address) as connection:
            await connection.send(head(method, path, lines) + body)
            return await connection.answer(method)

    def private(self, name: str) -> str:
        return f"{self.labels[name]}.{PRIVATE}"


@pytest.fixture(scope="module")
def house(embedded_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    settings = Settings(
        listen=ListenAddress("127.0.0.1", 0),
        data_dir=tmp_path_factory.mktemp("house"),
        database_url=new_database(embedded_server.dsn, "house"),
        public_domain=PUBLIC,
        private_domain=PRIVATE,
        console_host=CONSOLE,
        host_names=("registry.test",),
        default_registry="fallback",
        trusted_proxies=Networks.parse(["127.0.0.2/32"]),
        public_scheme="https",
    )
    with in_the_background(settings) as server:
        assert server.root is not None
        root = Key(server.root.access_key_id, server.root.secret_key)
        labels = asyncio.run(furnished(settings))
        yield House(settings, Address(server.host, server.port), root, labels)


async def furnished(settings: Settings) -> dict[str, str]:
    async with managing(settings) as registries:
        for name in ("alpha", "beta", "closed", "narrow"):
            await registries.create(LOCAL, name, f"{name}-bucket")
        networks = Networks.parse([f"{OUTSIDE}/32"])
        await registries.update(LOCAL, "closed", RegistryChange(public_endpoint=False), None)
        await registries.update(
            LOCAL, "narrow", RegistryChange(public_networks=networks, private_networks=networks), None
        )
        return {each.name: each.private_label for each in await registries.list()}


def host(name: str) -> Headers:
    return [("Host", name)]


# --- hosts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "status"),
    [
        (f"alpha.{PUBLIC}", 200),
        (f"ALPHA.{PUBLIC}:8443", 200),
        (f"alpha.{PUBLIC}.", 200),
        (f"alpha.{PUBLIC}.:443", 200),
        (f"fallback.{PUBLIC}", 200),
        ("localhost:5000", 200),
        ("127.0.0.1", 200),
        ("[::1]:5000", 200),
        ("registry.test", 200),
        ("", 200),
        (NOBODY, 404),
        (PUBLIC, 404),
        (f"x.alpha.{PUBLIC}", 404),
        (f"alpha.x.{PUBLIC}", 404),
        (f"alpha.{PRIVATE}", 404),
        (f"alphax{PUBLIC}", 404),
        (f"closed.{PUBLIC}", 404),
        (f"narrow.{PUBLIC}", 404),
        (CONSOLE, 404),
        ("evil.example.com", 404),
        (f"alpha.{PUBLIC}@evil.example.com", 404),
        (f"alpha.{PUBLIC}/", 404),
        (f'alpha.{PUBLIC}"', 404),
        ("127.0.0.1.evil.example.com", 404),
    ],
)
async def test_hosts(house: House, name: str, status: int) -> None:
    """A registry answers at its own hosts, the default one where none is named, nobody elsewhere."""
    answer = await house.ask("GET", "/v2/", host(name))

    assert answer.status == status
    if status == 404:
        assert answer.codes() == ["NAME_UNKNOWN"]


async def test_private_hosts(house: House) -> None:
    """Known by a random label only; a label in the other domain is none."""
    assert (await house.ask("GET", "/v2/", host(house.private("alpha")))).status == 200
    assert (await house.ask("GET", "/v2/", host(house.private("closed")))).status == 200
    assert (await house.ask("GET", "/v2/", host(f"{house.labels['alpha']}.{PUBLIC}"))).status == 404
    assert (await house.ask("GET", "/v2/", host(f"{'a' * 26}.{PRIVATE}"))).status == 404


async def test_a_repeated_host_is_refused(house: House) -> None:
    """What a proxy looked at may be the other one."""
    answer = await house.ask("GET", "/v2/", [*host(f"alpha.{PUBLIC}"), *host(f"beta.{PUBLIC}")])

    assert answer.status == 400


REQUESTS = [
    ("GET", "/v2/"),
    ("HEAD", "/v2/"),
    ("GET", "/v2/team/app/manifests/latest"),
    ("PUT", "/v2/team/app/manifests/latest"),
    ("POST", "/v2/team/app/blobs/uploads/"),
    ("GET", "/v2/_catalog"),
    ("GET", "/token?service=x&scope=y"),
    ("POST", "/token"),
    ("GET", "/"),
    ("DELETE", "/nothing/here"),
]


@pytest.mark.parametrize(("method", "path"), REQUESTS)
@pytest.mark.parametrize("login", [True, False])
async def test_what_may_not_be_seen_answers_as_what_does_not_exist(
    house: House, method: str, path: str, *, login: bool
) -> None:
    """Status, headers and body are the same, byte for byte: nobody learns which registries there are."""
    hosts = [NOBODY, f"closed.{PUBLIC}", f"narrow.{PUBLIC}", house.private("narrow"), CONSOLE, "evil.example.com"]

    answers = [await house.ask(method, path, host(name), login=login) for name in hosts]

    assert {answer.status for answer in answers} == {404}
    assert len({shape(answer) for answer in answers}) == 1


def shape(answer: Answer) -> tuple[object, ...]:
    """Everything but the time and the request's id, in its order."""
    fields = tuple((name, value) for name, value in answer.fields if name not in {"Date", "X-Request-Id"})
    return answer.status, fields, answer.body


# --- networks and proxies ------------------------------------------------------------------------


async def through(house: House, *headers: tuple[str, str]) -> Answer:
    """Ask from the address of a trusted proxy, without credentials."""
    reader, writer = await asyncio.open_connection(house.address.host, house.address.port, local_addr=("127.0.0.2", 0))
    connection = Connection(house.address, reader, writer)
    try:
        await connection.send(head("GET", "/v2/", [*headers, ("Connection", "close")]))
        return await connection.answer("GET")
    finally:
        await connection.close()


async def test_networks_are_judged_by_the_real_client(house: House) -> None:
    """Whom a trusted proxy names; what others say of themselves is not believed."""
    for name in (f"narrow.{PUBLIC}", house.private("narrow")):
        assert (await through(house, *host(name), ("X-Forwarded-For", OUTSIDE))).status == 401
        assert (await through(house, *host(name), ("X-Forwarded-For", f"{OUTSIDE}, {INSIDE}"))).status == 404
        assert (await through(house, *host(name), ("Forwarded", f"for={OUTSIDE}"))).status == 401
        assert (await house.ask("GET", "/v2/", [*host(name), ("X-Forwarded-For", OUTSIDE)])).status == 404


async def test_private_endpoints_are_for_private_networks(house: House) -> None:
    """Unless they are set otherwise."""
    name = house.private("alpha")

    assert (await through(house, *host(name), ("X-Forwarded-For", INSIDE))).status == 401
    assert (await through(house, *host(name), ("X-Forwarded-For", OUTSIDE))).status == 404


async def test_forwarded_hosts_are_believed_from_trusted_proxies_only(house: House) -> None:
    """Others reach what their Host says."""
    forwarded = ("X-Forwarded-Host", f"alpha.{PUBLIC}")

    assert (await through(house, *host("upstream"), forwarded)).status == 401
    assert (await house.ask("GET", "/v2/", [*host(NOBODY), forwarded])).status == 404
    assert (await through(house, *host(f"alpha.{PUBLIC}"), ("X-Forwarded-Host", NOBODY))).status == 404


@pytest.mark.parametrize(
    ("headers", "origin"),
    [
        ([("Host", f"alpha.{PUBLIC}")], f"https://alpha.{PUBLIC}"),
        ([("Host", f"ALPHA.{PUBLIC}:443")], f"https://alpha.{PUBLIC}"),
        ([("Host", f"alpha.{PUBLIC}:8443")], f"https://alpha.{PUBLIC}:8443"),
        ([("Host", f"alpha.{PUBLIC}"), ("X-Forwarded-Proto", "http")], f"http://alpha.{PUBLIC}"),
        ([("Host", f"alpha.{PUBLIC}"), ("X-Forwarded-Port", "8443")], f"https://alpha.{PUBLIC}:8443"),
        (
            [("Host", "upstream:5000"), ("X-Forwarded-Host", f"alpha.{PUBLIC}"), ("X-Forwarded-Port", "8443")],
            f"https://alpha.{PUBLIC}:8443",
        ),
        ([("Host", "up"), ("Forwarded", f'host="alpha.{PUBLIC}:81";proto=http')], f"http://alpha.{PUBLIC}:81"),
        # The private endpoints have no scheme configured: that of the connection.
        ([("Host", "PRIVATE:5000")], "http://PRIVATE:5000"),
        ([("Host", "PRIVATE"), ("X-Forwarded-Proto", "https")], "https://PRIVATE"),
    ],
)
async def test_the_realm_is_where_the_client_is(house: House, headers: Headers, origin: str) -> None:
    """Clients send their secret there, so it must be their own way to this registry."""
    name = house.private("alpha")
    client = ("X-Forwarded-For", INSIDE)
    answer = await through(house, *((key, value.replace("PRIVATE", name)) for key, value in headers), client)

    assert answer.status == 401
    assert answer["WWW-Authenticate"].startswith(f'Bearer realm="{origin.replace("PRIVATE", name)}/token",')


# --- registries never mix ------------------------------------------------------------------------


async def test_the_same_repository_in_two_registries(house: House) -> None:
    """What is pushed to one is not in the other: blobs, manifests, tags, uploads, mounts, the catalog, tokens."""
    alpha, beta = host(f"alpha.{PUBLIC}"), host(f"beta.{PUBLIC}")
    blob, image = f"/v2/team/app/blobs/{sha256(BLOB)}", "/v2/team/app/manifests/latest"
    started = await house.ask("POST", "/v2/team/app/blobs/uploads/", alpha)
    elsewhere = await house.ask("PATCH", started["Location"], beta, BLOB)
    pushed = await house.ask("PUT", f"{started['Location']}?digest={sha256(BLOB)}", alpha, BLOB)
    mounted = await house.ask("POST", f"/v2/team/app/blobs/uploads/?mount={sha256(BLOB)}&from=team/app", beta)
    anyhow = await house.ask("POST", f"/v2/other/app/blobs/uploads/?mount={sha256(BLOB)}", beta)

    assert (elsewhere.status, pushed.status, mounted.status, anyhow.status) == (404, 201, 202, 202)
    assert (await house.ask("GET", blob, alpha)).body == BLOB
    assert (await house.ask("GET", blob, host(house.private("alpha")))).body == BLOB
    assert (await house.ask("GET", blob, beta)).status == 404
    manifest = b'{"schemaVersion":2,"mediaType":"%s","manifests":[]}' % OCI_INDEX.encode()
    kind = [("Content-Type", OCI_INDEX)]
    assert (await house.ask("PUT", image, [*alpha, *kind], manifest)).status == 201
    assert (await house.ask("GET", image, beta)).status == 404
    assert (await house.ask("GET", "/v2/team/app/tags/list", beta)).status == 404
    assert (await house.ask("GET", "/v2/_catalog", alpha)).json() == {"repositories": ["team/app"]}
    assert (await house.ask("GET", "/v2/_catalog", beta)).json() == {"repositories": []}
    scope = "/token?scope=repository:team/app:pull"
    token = [("Authorization", f"Bearer {(await house.ask('GET', scope, alpha)).json()['token']}")]
    assert (await house.ask("GET", image, [*alpha, *token], login=False)).body == manifest
    foreign = await house.ask("GET", image, [*beta, *token], login=False)
    assert foreign.status == 401
    assert 'error="invalid_token"' in foreign["WWW-Authenticate"]
