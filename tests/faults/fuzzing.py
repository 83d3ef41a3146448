"""Targets of a fuzzer, as in python -m faults.fuzzing TARGET [options of libFuzzer] [a folder of beginnings].

Each target states what holds for any bytes at all: they are read, or refused in the parser's own way, and what was read
means the same when it is written down and read again.
"""

from __future__ import annotations

import ipaddress
import sys
from contextlib import suppress

import atheris
from multidict import CIMultiDict, CIMultiDictProxy

with atheris.instrument_imports(include=["gateway"]):
    from gateway.errors import ClientError, DigestInvalid, ParameterInvalid
    from gateway.http.forwarding import believed
    from gateway.model.digest import Digest
    from gateway.model.image_config import ImageConfig
    from gateway.model.manifest import Manifest
    from gateway.model.networks import Networks
    from gateway.model.ranges import ByteRange, parse_chunk_range, parse_ranges
    from gateway.model.scope import Scope, parse_scopes
    from gateway.model.trace import TraceParent
    from gateway.transport.framing import BrokenFramingError
    from gateway.transport.proxy_protocol import LONGEST_PREAMBLE, PreambleWrong, parse_preamble
    from support.framing import decoded

_PROXIES = Networks.parse(["10.0.0.0/8"])
_PROXY = ipaddress.ip_address("10.1.1.1")
_HEADERS = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port")


def manifest(data: bytes) -> None:
    """One that is taken is taken again under the type that it has."""
    with suppress(ClientError):
        found = Manifest.parse(data, "")
        assert Manifest.parse(data, found.media_type) == found
        assert found.blobs is not None
        assert found.platforms is None or all(found.platforms)


def config(data: bytes) -> None:
    """Whatever a blob holds is shown somehow."""
    ImageConfig.parse(data)


def ranges(data: bytes) -> None:
    """Ranges lie within the content, and can be written as those of an answer."""
    size = int.from_bytes(data[:2])
    with suppress(ClientError):
        for each in parse_ranges(data[2:].decode("latin-1"), size) or ():
            assert 0 <= each.start < each.stop <= size
            assert parse_chunk_range(each.content_range(size)) == each
    chunk = parse_chunk_range(data.decode("latin-1"))
    assert chunk is None or (chunk.length > 0 and chunk == ByteRange(chunk.start, chunk.stop))


def scopes(data: bytes) -> None:
    """What is read of scopes is what they say when they are written down."""
    found = parse_scopes(data.decode("latin-1").split("\n"))
    assert all(Scope.parse(str(each)) == each for each in found)
    assert parse_scopes(map(str, found)) == found


def chunks(data: bytes) -> None:
    """However the bytes of a chunked body arrive, they are the same body."""
    cuts, body = data[:2] or b"\1", data[2:]
    assert _unframed(body, [1 + cut for cut in cuts]) == _unframed(body, [len(body) + 1])


def _unframed(body: bytes, cuts: list[int]) -> tuple[bytes, bytes] | None:
    """Return content and what lies behind the body, None for one that is refused or has no end."""
    try:
        content, rest, has_ended = decoded(body, cuts)
    except BrokenFramingError:
        return None
    return (content, rest) if has_ended else None


def forwarded(data: bytes) -> None:
    """Strangers are believed nothing, and proxies only what makes sense."""
    lines = data.decode("latin-1").split("\n")
    headers = CIMultiDictProxy(CIMultiDict(zip(_HEADERS, lines, strict=False)))
    with suppress(ParameterInvalid):
        found = believed(headers, _PROXY, _PROXIES)
        assert found.scheme in {None, "http", "https"}
        assert found.port is None or found.port.isdecimal()
    stranger = ipaddress.ip_address("192.0.2.1")
    assert believed(headers, stranger, _PROXIES).client == stranger


def preamble(data: bytes) -> None:
    """A header means the same whatever follows it, and is not longer than it may be."""
    with suppress(PreambleWrong):
        found = parse_preamble(data, str(_PROXY))
        if found is None:
            assert len(data) < LONGEST_PREAMBLE
        else:
            peer, length = found
            ipaddress.ip_address(peer.address)
            assert parse_preamble(data[:length], str(_PROXY)) == found


def words(data: bytes) -> None:
    """Digests, and what traces say."""
    text = data.decode("latin-1")
    with suppress(DigestInvalid):
        assert str(Digest.parse(text)) == text
    TraceParent.parse(text)


TARGETS = (manifest, config, ranges, scopes, chunks, forwarded, preamble, words)


def main(arguments: list[str]) -> None:
    """Feed one target until libFuzzer has had enough; it ends with another code than 0 when something did not hold."""
    target = next(each for each in TARGETS if each.__name__ == arguments[1])
    atheris.Setup([arguments[0], *arguments[2:]], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
