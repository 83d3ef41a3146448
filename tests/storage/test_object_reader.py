"""What comes of the answers of an S3 service to a GET."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from gateway.errors import ObjectDamaged, ObjectMissing, StorageFull, StorageUnavailable
from gateway.model.ranges import ByteRange
from gateway.ports.storage import Location
from gateway.storage import reading
from gateway.storage.credentials import Credentials
from gateway.storage.reading import ObjectReader
from gateway.storage.sigv4 import Place
from gateway.transport.upstream import Limits
from transport.exchanges import origin_that

if TYPE_CHECKING:
    import asyncio

    from transport.exchanges import Origin

LOCATION, SPAN = Location("bucket", "key"), ByteRange(2, 5)
GOOD = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 2-4/9\r\nContent-Length: 3\r\n\r\ncde"


@dataclass(frozen=True)
class Fixed:
    """Credentials that last."""

    access_key: str = "AKIA"
    secret_key: str = "secret"
    token: str | None = "token"

    async def get_frozen_credentials(self) -> Fixed:
        return self


def refusal(status: int, code: str = "") -> bytes:
    body = f"<Error><Code>{code}</Code><Message>because</Message></Error>" if code else ""
    return f"HTTP/1.1 {status} No\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


async def read(answers: list[bytes], span: ByteRange = SPAN) -> tuple[bytes, Origin]:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answers.pop(0) if len(answers) > 1 else answers[0])
        await writer.drain()

    credentials = Credentials(Fixed())
    await credentials.refresh()
    async with origin_that(answer) as origin:
        reader = ObjectReader(credentials, Limits(silent_seconds=1.0), 10.0)
        place = Place("http", f"127.0.0.1:{origin.port}", "/bucket/", "here")
        try:
            async with reader.open(place, LOCATION, span) as content:
                assert content.length == span.length
                return b"".join([chunk async for chunk in content.chunks]), origin
        finally:
            reader.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_FIRST_PAUSE", 0.001)


async def test_the_request() -> None:
    found, origin = await read([GOOD])
    assert found == b"cde"
    (request,) = origin.requests
    lines = request.decode().split("\r\n")
    assert lines[0] == "GET /bucket/key HTTP/1.1"
    assert {"range: bytes=2-4", f"host: 127.0.0.1:{origin.port}", "x-amz-security-token: token"} <= set(lines)


async def test_a_whole_object_with_status_200() -> None:
    found, _ = await read([b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"], ByteRange(0, 3))
    assert found == b"abc"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (refusal(404, "NoSuchKey"), ObjectMissing),
        (refusal(404), ObjectMissing),
        (refusal(404, "NoSuchBucket"), StorageUnavailable),
        (refusal(403, "AccessDenied"), StorageUnavailable),
        (refusal(307), StorageUnavailable),
        (refusal(416, "InvalidRange"), ObjectDamaged),
        (refusal(416), ObjectDamaged),
        (refusal(503, "SlowDown"), StorageUnavailable),
        (refusal(500), StorageUnavailable),
        (refusal(507), StorageFull),
        (GOOD.replace(b"2-4/9", b"3-5/9"), StorageUnavailable),
        (GOOD.replace(b"2-4/9", b"2-3/9").replace(b"gth: 3", b"gth: 2")[:-1], ObjectDamaged),
        (GOOD.replace(b"2-4/9", b"2-5/9"), StorageUnavailable),
        (GOOD.replace(b"Content-Range", b"Other"), StorageUnavailable),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabcdefghi", StorageUnavailable),
        (GOOD.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n"), StorageUnavailable),
        (GOOD.replace(b"Content-Length", b"Other"), StorageUnavailable),
        (b"garbage\r\n\r\n", StorageUnavailable),
    ],
)
async def test_refusals_and_wrong_answers(answer: bytes, error: type[Exception]) -> None:
    with pytest.raises(error) as raised:
        await read([answer])
    assert isinstance(raised.value, error)


@pytest.mark.parametrize("passing", [refusal(503, "SlowDown"), refusal(500), refusal(429), b"garbage\r\n\r\n"])
async def test_failures_that_pass_are_not_seen(passing: bytes) -> None:
    found, origin = await read([passing] * 4 + [GOOD])
    assert found == b"cde"
    assert len(origin.requests) == 5


async def test_what_will_not_pass_is_asked_once() -> None:
    answers = [refusal(404, "NoSuchKey"), GOOD]
    with pytest.raises(ObjectMissing):
        await read(answers)
    assert answers == [GOOD]
