"""Bodies in chunks: every way to cut them gives the same content, and nothing is taken that llhttp would refuse."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp.http import HttpRequestParser
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.transport.framing import BrokenFramingError, ChunkedFraming
from support.framing import decoded

CHUNKS = st.lists(st.binary(min_size=1, max_size=80), max_size=12)
CUTS = st.lists(st.integers(1, 60), min_size=1, max_size=20)
EXTENSIONS = st.sampled_from([b"", b";a", b";name=value", b';q="a;\\"b"', b";a=1;b=2"])
TRAILERS = st.sampled_from([b"", b"X-A: b\r\n", b"X-A:\r\nX-B: \xe4\r\n"])

MALFORMED = [
    b"xyz\r\nhello\r\n",
    b"-5\r\nhello\r\n",
    b"+5\r\nhello\r\n",
    b"0x5\r\nhello\r\n",
    b"5 \r\nhello\r\n",
    b" 5\r\nhello\r\n",
    b"5\nhello\r\n0\r\n\r\n",
    b"5\rhello\r\n0\r\n\r\n",
    b"5\r\nhello\n0\r\n\r\n",
    b"5\r\nhello0\r\n\r\n",
    b"2\r\nhello\r\n",
    b"\r\n\r\n",
    b"5_0\r\n",
    b"FFFFFFFFFFFFFFFFF\r\n",
    b"1000000000000000\r\n",
    b"5;\r\nhello\r\n",
    b"5;a b\r\nhello\r\n",
    b'5;a="b\r\nhello\r\n',
    b"5;a=\x00\r\nhello\r\n",
    b"5;a\n\r\nhello\r\n",
    b"5;" + b"a" * 9000,
    b"0\r\nbroken\r\n\r\n",
    b"0\r\n folded: x\r\n\r\n",
    b"0\r\nX : y\r\n\r\n",
    b"0\r\nX: \x00\r\n\r\n",
    b"0\r\nContent-Length: 5\r\n\r\n",
    b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"0\r\n\n",
    b"0\r\n\rx",
    b"0\n\n",
    b"1;aaaa=" + b"b" * 6000 + (b"\r\nx\r\n1;aaaa=" + b"b" * 6000) * 12,
    b"0\r\n" + b"X-A: b\r\n" * 12_000,
]


def by_llhttp(body: bytes) -> tuple[bytes, bytes]:
    """Let aiohttp's parser decode a body; raises what it raises."""
    nobody: Any = _Nobody()
    loop = asyncio.new_event_loop()
    try:
        parser = HttpRequestParser(nobody, loop, 1 << 20, max_line_size=8190, max_headers=128)
        ((_, payload),) = parser.feed_data(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")[0]
        for place in range(len(body)):
            parser.feed_data(body[place : place + 1])
            if payload.is_eof():
                return payload.read_nowait(-1) if payload.total_bytes else b"", body[place + 1 :]
        raise ValueError("the body has no end")
    finally:
        loop.close()


class _Nobody:
    """A protocol that does nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


@given(CHUNKS, CUTS, EXTENSIONS, TRAILERS, st.binary(max_size=30))
def test_content_of_chunks(
    chunks: list[bytes], cuts: list[int], extension: bytes, trailers: bytes, rest: bytes
) -> None:
    """However a body is cut on its way, its content comes out, and what follows stays whole."""
    body = b"".join(b"%X%b\r\n%b\r\n" % (len(chunk), extension, chunk) for chunk in chunks)
    body += b"000%b\r\n%b\r\n" % (extension, trailers)

    assert decoded(body + rest, cuts) == (b"".join(chunks), rest, True)


@pytest.mark.parametrize("body", MALFORMED, ids=lambda body: repr(body[:24]))
@pytest.mark.parametrize("cuts", [[1], [3], [100_000]])
def test_malformed(body: bytes, cuts: list[int]) -> None:
    """What is no chunk is refused as soon as it is seen, in whatever pieces it comes."""
    with pytest.raises(BrokenFramingError):
        decoded(body, cuts)


@given(CHUNKS, st.data(), EXTENSIONS, TRAILERS)
def test_never_laxer_than_llhttp(chunks: list[bytes], data: st.DataObject, extension: bytes, trailers: bytes) -> None:
    """A body with a byte changed, lost or added is refused, or read just as aiohttp's parser reads it."""
    body = b"".join(b"%x%b\r\n%b\r\n" % (len(chunk), extension, chunk) for chunk in chunks)
    body += b"0%b\r\n%b\r\n" % (extension, trailers)
    place = data.draw(st.integers(0, len(body) - 1))
    put = data.draw(st.sampled_from([b"", b"\r", b"\n", b" ", b"0", b"1", b";", b"\t", b"\x00", b"\r\n", b":", b'"']))
    body = body[:place] + put + body[place + data.draw(st.integers(0, 2)) :] + b"0\r\n\r\n" * 2
    try:
        content, rest, ended = decoded(body, [data.draw(st.integers(1, 50))])
    except BrokenFramingError:
        return
    if ended:
        assert by_llhttp(body) == (content, rest)


@given(st.integers(100, 3000))
@example(3000)
def test_tiny_chunks_give_the_loop_free(count: int) -> None:
    """While chunks are tiny, less is read at once."""
    framing = ChunkedFraming()
    piece = bytearray(b"1\r\nx\r\n" * count)
    assert framing.decode(memoryview(piece), len(piece)) + len(framing.excess) // 6 in {count, count - 1}
    assert framing.room(1 << 20) == 8 * 1024
