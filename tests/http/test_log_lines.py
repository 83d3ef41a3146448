"""What log lines say of requests, and what they never say."""

from __future__ import annotations

import asyncio
import base64
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

import orjson
import pytest

from gateway.config import Address as ListenAddress
from gateway.config import Settings
from gateway.errors import StorageUnavailable
from gateway.model.networks import Networks
from gateway.services.pull import Pull
from gateway.telemetry.logs import JsonLines
from support.postgres import new_database
from support.serving import in_the_background

from .content import BLOB, CONFIG, IMAGE, LAYER, OCI_MANIFEST, sha256
from .wire import Address, Answer, Body, connect, head

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from support.databases import Server
    from support.seaweed import SeaweedFS

BUCKET = "log-lines"
KEY, SECRET = "LOGKEY", "log-secret-0123456789abcdef-0123456789"
TRACE = "0af7651916cd43dd8448eb211c80319c"
DIGEST = sha256(BLOB)


class Log:
    """Everything that is logged, as an operator would see it."""

    def __init__(self, address: Address, capsys: pytest.CaptureFixture[str]) -> None:
        self.address = address
        self.text = ""
        self._capsys = capsys

    def read(self) -> list[dict[str, Any]]:
        self.text += self._capsys.readouterr().err
        return [orjson.loads(line) for line in self.text.splitlines()]

    async def line_of(self, answer: Answer, logger: str = "gateway.access") -> dict[str, Any]:
        """Return the line with an answer's id."""
        while True:
            for line in self.read():
                if (line["request_id"], line["logger"]) == (answer["X-Request-Id"], logger):
                    return line
            await asyncio.sleep(0)


class Collecting(logging.Handler):
    """Adds records to the log."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.text += f"{self.format(record)}\n"


@contextmanager
def logged(address: Address, capsys: pytest.CaptureFixture[str]) -> Iterator[Log]:
    """Write records of the logging module as ``slipway serve`` does."""
    log = Log(address, capsys)
    handler = Collecting(log)
    handler.setFormatter(JsonLines())
    ours = logging.getLogger("gateway")
    ours.setLevel(logging.DEBUG)
    logging.getLogger().addHandler(handler)
    try:
        yield log
    finally:
        logging.getLogger().removeHandler(handler)
        ours.setLevel(logging.NOTSET)


@pytest.fixture(scope="module")
def address(embedded_server: Server, seaweed: SeaweedFS, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """A registry with accounts that redirects to its storage."""
    seaweed.create_bucket(BUCKET)
    settings = Settings(
        listen=ListenAddress("127.0.0.1", 0),
        data_dir=tmp_path_factory.mktemp("log"),
        database_url=new_database(embedded_server.dsn, "loglines"),
        blob_delivery="redirect",
        trusted_proxies=Networks.parse(["127.0.0.1"]),
        root_access_key_id=KEY,
        root_secret_key=SECRET,
        log_format="json",
        **seaweed.settings(BUCKET),
    )
    with in_the_background(settings) as server:
        yield Address(server.host, server.port)


@pytest.fixture
def log(address: Address, capsys: pytest.CaptureFixture[str]) -> Iterator[Log]:
    with logged(address, capsys) as found:
        yield found


async def ask(
    address: Address, method: str, target: str, *, headers: Sequence[tuple[str, str]] = (), body: Body = b""
) -> Answer:
    """Send one request, which may be answered with an error of ours, or by a redirect to elsewhere."""
    async with connect(address) as connection:
        return await connection.request(method, target, headers, body)


def basic(secret: str = SECRET) -> tuple[str, str]:
    return "Authorization", "Basic " + base64.b64encode(f"{KEY}:{secret}".encode()).decode()


async def push(address: Address) -> None:
    """Push an image by one POST for each blob."""
    for content in (BLOB, CONFIG, LAYER):
        target = f"/v2/log/app/blobs/uploads/?digest={quote(sha256(content))}"
        assert (await ask(address, "POST", target, headers=[basic()], body=content)).status == 201
    headers = [basic(), ("Content-Type", OCI_MANIFEST)]
    assert (await ask(address, "PUT", "/v2/log/app/manifests/latest", headers=headers, body=IMAGE)).status == 201


async def test_a_line_says_what_a_request_was_about(log: Log) -> None:
    """Who, which registry, repository and digest, how much and how long; behind a proxy, the client and the trace."""
    await push(log.address)
    headers = [
        basic(),
        ("X-Forwarded-For", "192.0.2.9"),
        ("traceparent", f"00-{TRACE}-b7ad6b7169203331-01"),
    ]
    line = await log.line_of(await ask(log.address, "GET", "/v2/log/app/manifests/latest?a=b", headers=headers))

    assert 0 < line.pop("seconds") < 60
    del line["time"], line["request_id"]
    assert line == {
        "level": "info",
        "logger": "gateway.access",
        "message": "request",
        "trace_id": TRACE,
        "client": "192.0.2.9",
        "access_key_id": KEY,
        "registry": "default",
        "repository": "log/app",
        "digest": sha256(IMAGE),
        "route": "manifest",
        "method": "GET",
        "path": "/v2/log/app/manifests/latest",
        "status": 200,
        "received_bytes": 0,
        "sent_bytes": len(IMAGE),
    }


async def test_bodies_are_counted(log: Log) -> None:
    """What was received of a push, and of one that was refused as well, under its digest."""
    target = f"/v2/log/app/blobs/uploads/?digest={quote(DIGEST)}"
    pushed = await log.line_of(await ask(log.address, "POST", target, headers=[basic()], body=BLOB))
    headers = [basic(), ("Content-Type", OCI_MANIFEST)]
    refused = await ask(log.address, "PUT", f"/v2/log/app/manifests/{DIGEST}", headers=headers, body=b"{}")
    assert refused.status == 400
    line = await log.line_of(refused)

    assert (pushed["received_bytes"], pushed["digest"], pushed["status"]) == (len(BLOB), DIGEST, 201)
    assert (line["received_bytes"], line["digest"], line["sent_bytes"]) == (2, DIGEST, len(refused.body))


async def test_clients_cannot_write_into_the_log(log: Log) -> None:
    """Names that are no names are not repeated in their decoded form, whatever they hold."""
    evil = "/v2/a%0Ab%20c%9b/manifests/x%0Ay"
    line = await log.line_of(await ask(log.address, "GET", evil, headers=[basic()]))

    assert (line["path"], line["repository"], line["digest"]) == (evil, None, None)


async def test_nobody_else_names_a_trace(log: Log) -> None:
    """A header that is none gets a new trace id, and each request has another one."""
    asked = [await ask(log.address, "GET", "/v2/", headers=[("traceparent", "00-secret-01")]) for _ in range(2)]
    first, second = [(await log.line_of(answer))["trace_id"] for answer in asked]

    assert len(first) == 32
    assert int(first, 16) != int(second, 16)


async def test_requests_for_nobody_have_a_client(log: Log) -> None:
    """A host that is unknown is answered before the client is found out."""
    async with connect(log.address) as connection:
        await connection.send(head("GET", "/v2/", [("Host", "elsewhere.example.com")]))
        answer = await connection.answer("GET")

    line = await log.line_of(answer)

    assert (line["status"], line["client"], line["registry"]) == (404, "127.0.0.1", None)


async def test_errors_carry_the_request(
    log: Log, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The line that says what went wrong has the id that the client was told."""

    def broken(*_: object) -> None:
        raise StorageUnavailable("the storage is away")

    await push(log.address)
    monkeypatch.setattr(Pull, "address", broken)
    answer = await ask(log.address, "GET", f"/v2/log/app/blobs/{DIGEST}", headers=[basic()])
    line = await log.line_of(answer, "gateway.http.api")

    assert answer.status == 503
    assert (line["level"], line["message"]) == ("error", "the request failed: the storage is away")
    assert line["trace_id"] == (await log.line_of(answer))["trace_id"]
    # This one was wanted.
    caplog.clear()


async def test_no_secret_is_ever_logged(log: Log) -> None:
    """Passwords, tokens, queries and presigned addresses, in whatever way they were sent, at any level."""
    await push(log.address)
    token = await ask(log.address, "GET", "/token?scope=repository:log/app:pull", headers=[basic()])
    bearer = ("Authorization", f"Bearer {token.json()['token']}")
    form = urlencode({"grant_type": "password", "username": KEY, "password": SECRET, "client_id": "docker"})
    is_form = ("Content-Type", "application/x-www-form-urlencoded")
    blob = f"/v2/log/app/blobs/{DIGEST}"
    redirect = await ask(log.address, "GET", blob, headers=[bearer])
    location = redirect["Location"]
    signed = urlsplit(location).query
    asked = [
        token,
        redirect,
        await ask(log.address, "POST", "/token", headers=[is_form], body=form.encode()),
        await ask(log.address, "GET", f"{blob}?{signed}", headers=[bearer]),
        await ask(log.address, "GET", f"/v2/log/none/blobs/{DIGEST}?access_token=query-secret", headers=[bearer]),
        await ask(log.address, "GET", "/v2/", headers=[basic("wrong-secret-0123456789abcdef-01234567")]),
        await ask(log.address, "GET", "/v2/", headers=[("Authorization", "Bearer forged-secret")]),
        await ask(log.address, "GET", "http://user:origin-secret@127.0.0.1/v2/"),
        await ask(log.address, "GET", "/api/registries?password=api-secret", headers=[basic()]),
        await ask(log.address, "POST", "/console/sign-in?password=page-secret", headers=[is_form], body=form.encode()),
    ]
    assert (redirect.status, asked[2].status) == (307, 200), asked
    assert "X-Amz-Signature=" in signed
    lines = [await log.line_of(answer) for answer in asked]
    assert [line["access_key_id"] for line in lines[:4]] == [KEY] * 4

    secrets = [
        SECRET,
        quote(SECRET),
        basic()[1].partition(" ")[2],
        token.json()["token"],
        *(value for pair in signed.split("&") if len(value := pair.partition("=")[2]) > 8),
        *(f"{word}-secret" for word in ("query", "wrong", "forged", "origin", "api", "page")),
    ]
    found = [secret for secret in secrets if secret in log.text]
    assert found == []
