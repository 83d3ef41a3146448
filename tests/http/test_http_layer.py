"""Protocol 1.12, edge cases 13 and 39: the layer below the registry, where servers usually fail."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from .content import BLOB, IMAGE, OCI_MANIFEST, noise, sha256
from .rows import Case, Names, blob, play, row, story, table
from .uploads import CONTINUE, running_request
from .wire import Address, Answer, Chunked, Connection, ask, check_common, chunk, connect, head

if TYPE_CHECKING:
    from collections.abc import Sequence

_EXPECT = ("Expect", "100-continue")
_UNKNOWN = "/v2/{repo}/blobs/uploads/0b8e2b0c-6a49-4a5e-9d63-0f3c2f0a1111"
_LARGE = str(50 * 2**20)


async def _open(address: Address, repo: str) -> str:
    return (await ask(address, "POST", f"/v2/{repo}/blobs/uploads/"))["Location"]


async def _offset(address: Address, location: str) -> str:
    return (await ask(address, "GET", location))["Range"]


LIMITS = [
    row("5.13 a query of 8 KB", "GET", "/v2/?x=" + "y" * 8_000, 200),
    row("5.13 a query of 8 KB on a blob", "GET", "/v2/{shelf}/blobs/{blob}?x=" + "y" * 8_000, 200, body_is=BLOB),
    row("5.13 an absurd query: 414 or 431", "GET", "/v2/?x=" + "y" * 2**20, (414, 431)),
    row("5.13 an absurd path: 414 or 431", "GET", "/v2/" + "y" * 2**20, (414, 431, 404)),
    row("1.6 a header of 60 KB", "GET", "/v2/", 200, headers={"X-Large": "y" * 60_000}),
    row("5.13 an absurd header: 431 or 400", "GET", "/v2/", (431, 400), headers={"X-Large": "y" * 2**20}),
    row("1.12 fifty headers", "GET", "/v2/", 200, headers={f"X-{number}": "y" for number in range(50)}),
    row(
        "1.12 a media type that is no text",
        "PUT",
        "/v2/{repo}/manifests/x",
        400,
        headers={"Content-Type": "\u00ff"},
        body=b'{"schemaVersion":2}',
    ),
    row("1.12 header values in Latin-1", "GET", "/v2/", 200, headers={"User-Agent": "caf\u00e9"}),
]


@table(*LIMITS)
async def test_limit(registry: Address, names: Names, case: Case) -> None:
    """What is long is served, what is absurd is refused with an answer."""
    await play(registry, names, case)


EARLY: list[tuple[str, str, str, list[tuple[str, str]], int]] = [
    ("an unknown session", "PATCH", _UNKNOWN, [("Content-Length", _LARGE)], 404),
    ("an unknown session, chunked", "PATCH", _UNKNOWN, [("Transfer-Encoding", "chunked")], 404),
    ("a commit of an unknown session", "PUT", _UNKNOWN + "?digest={missing}", [("Content-Length", _LARGE)], 404),
    ("a commit without digest", "PUT", "{location}", [("Content-Length", _LARGE)], 400),
    ("a commit with a bad digest", "PUT", "{location}?digest=foo", [("Content-Length", _LARGE)], 400),
    ("a chunk out of order", "PATCH", "{location}", [("Content-Length", "10"), ("Content-Range", "5-14")], 416),
    ("a chunk of the wrong size", "PATCH", "{location}", [("Content-Length", "10"), ("Content-Range", "0-99")], 400),
    ("a manifest that is too large", "PUT", "/v2/{repo}/manifests/v1", [("Content-Length", _LARGE)], 413),
    ("a manifest with a bad digest", "PUT", "/v2/{repo}/manifests/sha256:foo", [("Content-Length", "10")], 400),
    ("a manifest with a bad tag", "PUT", "/v2/{repo}/manifests/-x", [("Content-Length", "10")], 400),
    ("a bad name", "POST", "/v2/NO/blobs/uploads/?digest={missing}", [("Content-Length", _LARGE)], 400),
    ("a method that does not exist", "PUT", "/v2/{shelf}/blobs/{blob}", [("Content-Length", _LARGE)], 405),
    ("an address that does not exist", "PUT", "/v2/{shelf}/nothing", [("Content-Length", _LARGE)], 404),
]


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"), [case[1:] for case in EARLY], ids=[case[0] for case in EARLY]
)
async def test_refused_without_continue(
    registry: Address, names: Names, method: str, path: str, headers: list[tuple[str, str]], status: int
) -> None:
    """Who asks with Expect: 100-continue is refused before any byte of the body is asked for (5.39)."""
    location = await _open(registry, names["repo"])
    target = path.format(location=location, **names)
    async with connect(registry) as connection:
        await connection.start(method, target, [*headers, _EXPECT])
        answer = await connection.answer(method)

    check_common(answer)
    assert (answer.status, answer.interim) == (status, ())
    assert await _offset(registry, location) == "0-0"


@pytest.mark.parametrize("expectation", ["100-continue", "100-Continue"])
async def test_continue(registry: Address, repo: str, expectation: str) -> None:
    """Who asks for it gets 100 once the registry is about to read, sends the body, and gets the answer."""
    location = await _open(registry, repo)
    async with connect(registry) as connection:
        await connection.start("PATCH", location, [("Content-Length", "5"), ("Expect", expectation)])
        assert await connection.read(len(CONTINUE)) == CONTINUE
        await connection.send(b"hello")
        answer = await connection.answer("PATCH")

    assert (answer.status, answer["Range"]) == (202, "0-4")


async def test_continue_that_is_not_waited_for(registry: Address, repo: str) -> None:
    """Curl sends the body after a second without 100; nothing goes wrong when both cross."""
    location = await _open(registry, repo)
    answer = await ask(registry, "PATCH", location, headers=dict([_EXPECT]), body=b"hello")

    assert (answer.status, answer["Range"]) == (202, "0-4")


@pytest.mark.parametrize("value", ["something", "200-ok", "100-continue, more"])
async def test_unknown_expectation(registry: Address, repo: str, value: str) -> None:
    """An expectation other than 100-continue is 417."""
    location = await _open(registry, repo)
    answer = await ask(registry, "PATCH", location, headers={"Expect": value}, body=b"hello")

    assert answer.status == 417
    assert await _offset(registry, location) == "0-0"


FRAMINGS: list[tuple[str, list[tuple[str, str]], bytes]] = [
    ("both framings", [("Content-Length", "5"), ("Transfer-Encoding", "chunked")], b"0\r\n\r\n"),
    ("both, the other way round", [("Transfer-Encoding", "chunked"), ("Content-Length", "5")], b"0\r\n\r\n"),
    ("a negative length", [("Content-Length", "-5")], b"hello"),
    ("a length that is no number", [("Content-Length", "abc")], b"hello"),
    ("a length with a sign", [("Content-Length", "+5")], b"hello"),
    ("two lengths", [("Content-Length", "5"), ("Content-Length", "6")], b"hello!"),
    ("a length of 30 digits", [("Content-Length", "9" * 30)], b"hello"),
    ("a chunk size that is no number", [("Transfer-Encoding", "chunked")], b"xyz\r\nhello\r\n0\r\n\r\n"),
    ("a negative chunk size", [("Transfer-Encoding", "chunked")], b"-5\r\nhello\r\n0\r\n\r\n"),
    ("a chunk longer than it says", [("Transfer-Encoding", "chunked")], b"2\r\nhello\r\n0\r\n\r\n"),
    ("a space in a header's name", [("Content Length", "5")], b""),
    ("a header on two lines", [("X-Folded", "a\r\n b"), ("Content-Length", "x")], b""),
]


@pytest.mark.parametrize(("headers", "body"), [case[1:] for case in FRAMINGS], ids=[case[0] for case in FRAMINGS])
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
async def test_bad_framing(
    registry: Address, repo: str, method: str, headers: list[tuple[str, str]], body: bytes
) -> None:
    """A body whose end is in doubt is 400, the connection is closed, and nothing is stored (5.39)."""
    location = await _open(registry, repo)
    async with connect(registry) as connection:
        target = location if method == "PATCH" else f"{location}?digest={sha256(b'hello')}"
        await connection.start(method, target, headers)
        await connection.send(body)
        answer = await connection.answer(method)
        assert await connection.rest() == b""

    check_common(answer)
    assert answer.status == 400
    assert await _offset(registry, location) == "0-0"
    assert (await ask(registry, "HEAD", f"/v2/{repo}/blobs/{sha256(b'hello')}")).status == 404


@pytest.mark.parametrize("broken", [b"xyz\r\nhello\r\n", b"-5\r\nhello\r\n", b"2\r\nhello\r\n", b"\r\n\r\n"])
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
async def test_framing_that_breaks_later(registry: Address, repo: str, method: str, broken: bytes) -> None:
    """A chunk that cannot be read is 400 as well when good ones came before; nothing is kept of them."""
    location = await _open(registry, repo)
    target = location if method == "PATCH" else f"{location}?digest={sha256(b'good')}"
    async with connect(registry) as connection:
        await running_request(connection, method, target, 0, chunked=True)
        await connection.send(chunk(b"good"))
        await connection.send(broken)
        answer = await connection.answer(method)
        assert await connection.rest() == b""

    check_common(answer)
    assert answer.status == 400
    assert (await ask(registry, "HEAD", location))["Range"] == "0-0"
    assert (await ask(registry, "HEAD", f"/v2/{repo}/blobs/{sha256(b'good')}")).status == 404


@pytest.mark.parametrize(
    "line", ["GET", "GET /v2/ HTTP/9.9", "GET  HTTP/1.1", "\x16\x03\x01\x02", "GET /v2/ x HTTP/1.1"]
)
async def test_no_http(registry: Address, line: str) -> None:
    """What is not HTTP/1.1 is 400 and the connection is closed."""
    async with connect(registry) as connection:
        await connection.send(f"{line}\r\nHost: localhost\r\n\r\n".encode())
        answer = await connection.answer("GET")
        assert await connection.rest() == b""

    check_common(answer)
    assert answer.status == 400


async def test_http_1_0(registry: Address) -> None:
    """An HTTP/1.0 client is answered and its connection closed."""
    async with connect(registry) as connection:
        await connection.send(b"GET /v2/ HTTP/1.0\r\n\r\n")
        answer = await connection.answer("GET")
        assert await connection.rest() == b""

    assert (answer.status, answer.body) == (200, b"{}")


async def _keeps_or_closes(connection: Connection, first: Answer, repo: str) -> None:
    """Ask for something else on the same connection: its answer must come, or the connection be at its end."""
    if (first.get("Connection") or "").lower() == "close":
        assert await connection.rest() == b""
        return
    second = await connection.request("GET", f"/v2/{repo}/tags/list")
    assert (second.status, second.codes()) == (404, ["NAME_UNKNOWN"]), str(second)


@pytest.mark.parametrize("how", ["with a length", "chunked"])
@pytest.mark.parametrize(
    ("method", "path", "headers", "status"), [case[1:] for case in EARLY], ids=[case[0] for case in EARLY]
)
async def test_leftover_is_no_request(
    registry: Address, names: Names, how: str, method: str, path: str, headers: Sequence[tuple[str, str]], status: int
) -> None:
    """The body of a refused request is never read as the next request."""
    smuggled = head("GET", "/v2/", [("Host", "localhost")]) * 3
    if status == 413:
        smuggled += b" " * 2**22
    spans = [("Content-Range", value) for name, value in headers if name == "Content-Range"]
    location = await _open(registry, names["repo"])
    async with connect(registry) as connection:
        body = Chunked.of(smuggled) if how == "chunked" else smuggled
        first = await connection.request(method, path.format(location=location, **names), spans, body)
        assert first.status in {status, 400}, str(first)
        await _keeps_or_closes(connection, first, names["repo"])


@pytest.mark.parametrize("size", [100_000, 2**20, 30 * 2**20])
@pytest.mark.parametrize("how", ["with a length", "chunked"])
async def test_refusal_is_seen_while_the_body_comes(registry: Address, names: Names, how: str, size: int) -> None:
    """Who is refused in the middle of a large body sees the answer, not a reset connection."""
    body = Chunked.of(*[bytes(2**16)] * (size // 2**16 + 1)) if how == "chunked" else bytes(size)
    answer = await ask(registry, "PATCH", _UNKNOWN.format(**names), body=body)

    assert (answer.status, answer.codes()) == (404, ["BLOB_UPLOAD_UNKNOWN"])


async def test_refusal_is_seen_after_the_body(registry: Address, names: Names) -> None:
    """Who reads the answer only after having sent 200 KB sees it as well."""
    async with connect(registry) as connection:
        await connection.start("PATCH", _UNKNOWN.format(**names), [("Content-Length", "200000")])
        await connection.send(bytes(200_000))
        answer = await connection.answer("PATCH")

    assert (answer.status, answer.codes()) == (404, ["BLOB_UPLOAD_UNKNOWN"])


async def test_keep_alive(registry: Address, names: Names, repo: str) -> None:
    """One connection serves request after request, those without a body in their answers among them."""
    blob_path = f"/v2/{names['shelf']}/blobs/{names['blob']}"
    async with connect(registry) as connection:
        for _ in range(3):
            location = (await connection.request("POST", f"/v2/{repo}/blobs/uploads/"))["Location"]
            assert (await connection.request("PATCH", location, body=Chunked.of(b"hel", b"lo"))).status == 202
            assert (await connection.request("GET", location)).status == 204
            assert (await connection.request("PUT", f"{location}?digest={sha256(b'hello')}")).status == 201
            assert (await connection.request("HEAD", blob_path)).status == 200
            assert (await connection.request("GET", blob_path, [("If-None-Match", "*")])).status == 304
            assert (await connection.request("HEAD", f"/v2/{repo}/manifests/none")).status == 404
            assert (await connection.request("GET", blob_path, [("Range", "bytes=0-9")])).body == BLOB[:10]
            assert (await connection.request("GET", "/v2/", body=b"ignored")).status == 200


async def test_pipelining(registry: Address, names: Names) -> None:
    """Requests sent at once are answered in their order."""
    paths = [f"/v2/{names['shelf']}/blobs/{names['blob']}", "/v2/", f"/v2/{names['shelf']}/manifests/latest"]
    async with connect(registry) as connection:
        for path in paths:
            await connection.start("GET", path)
        bodies = [(await connection.answer("GET")).body for _ in paths]

    assert bodies == [BLOB, b"{}", IMAGE]


async def test_request_in_single_bytes(registry: Address) -> None:
    """A request that comes byte by byte is a request."""
    async with connect(registry) as connection:
        for byte in head("GET", "/v2/", [("Host", "localhost")]):
            await connection.send(bytes([byte]))
        assert (await connection.answer("GET")).status == 200


async def test_half_closed_download(registry: Address, names: Names) -> None:
    """A client that closes its own side after the request still gets the whole blob (5 extra m)."""
    content = noise(9 * 2**20, seed=41)
    await play(registry, names, story("given", *blob(content)))
    async with connect(registry) as connection:
        await connection.start("GET", f"/v2/{names['repo']}/blobs/{sha256(content)}")
        connection.half_close()
        assert (await connection.answer("GET")).body == content


async def test_half_closed_behind_several_requests(registry: Address, repo: str) -> None:
    """What a client has asked for before it closed its side is answered, all of it."""
    async with connect(registry) as connection:
        request = head("GET", f"/v2/{repo}/blobs/{sha256(b'nothing like it')}", [("Host", "localhost")])
        await connection.send(3 * request)
        connection.half_close()
        for _ in range(3):
            assert (await connection.answer("GET")).status == 404


async def test_half_closed_upload(registry: Address, repo: str) -> None:
    """A client that closes its own side after the body gets its answer."""
    location = await _open(registry, repo)
    async with connect(registry) as connection:
        await connection.start("PATCH", location, [("Content-Length", "5")])
        await connection.send(b"hello")
        connection.half_close()
        assert (await connection.answer("PATCH")).status == 202


async def test_a_host_that_is_no_text(registry: Address) -> None:
    """Bytes that are no text in Host are answered as any other unknown host."""
    async with connect(registry) as connection:
        await connection.send(b"GET /v2/ HTTP/1.1\r\nHost: \xff\r\n\r\n")
        assert (await connection.answer("GET")).status == 404


async def test_many_broken_downloads(registry: Address, names: Names) -> None:
    """Hundreds of clients that read a slice and break off leave no trace, and others are served (1.12)."""
    content = noise(20 * 2**20, seed=42)
    path = f"/v2/{names['repo']}/blobs/{sha256(content)}"
    await play(registry, names, story("given", *blob(content)))

    async def slice_of(number: int) -> None:
        async with connect(registry) as connection:
            await connection.start("GET", path, [("Range", f"bytes={number * 1000}-")])
            await connection.read(10_000)
            await connection.cut()

    for batch in range(6):
        await asyncio.gather(*(slice_of(batch * 50 + number) for number in range(50)))
    answer = await ask(registry, "GET", path, headers={"Range": "bytes=-1000"})
    assert answer.body == content[-1000:]


async def test_chunk_extensions_and_trailers(registry: Address, repo: str) -> None:
    """Chunk extensions and trailers are allowed and are no part of the body."""
    location = await _open(registry, repo)
    async with connect(registry) as connection:
        await connection.start("PATCH", location, [("Transfer-Encoding", "chunked")])
        await connection.send(b"5;name=value\r\nhello\r\n" + chunk(b" world") + b"0\r\nX-Trailer: x\r\n\r\n")
        answer = await connection.answer("PATCH")

    assert (answer.status, answer["Range"]) == (202, "0-10")


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
async def test_content_encoding_of_a_request(registry: Address, repo: str, coding: str) -> None:
    """A body's Content-Encoding is not undone: the digest is that of the bytes that were sent."""
    location = await _open(registry, repo)
    target = f"{location}?digest={sha256(b'not compressed at all')}"
    answer = await ask(registry, "PUT", target, headers={"Content-Encoding": coding}, body=b"not compressed at all")

    assert answer.status == 201


async def test_manifest_without_length(registry: Address, names: Names) -> None:
    """A manifest may come chunked; it is never 411 (1.8)."""
    path = f"/v2/{names['shelf']}/manifests/chunked"
    answer = await ask(registry, "PUT", path, headers={"Content-Type": OCI_MANIFEST}, body=Chunked.of(IMAGE))

    assert answer.status == 201
