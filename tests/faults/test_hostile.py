"""Clients that mean harm: very many, very slow, endless, and senseless. Others do not notice, and memory is bounded.

What single parsers make of noise is tested beside them (tests/unit, tests/transport); here it is the whole program.
"""

from __future__ import annotations

import random
import resource
import select
import socket
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cli.registry import Registry, serving
from e2e.wire import Wire, sha256
from faults.installations import created_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.databases import Server

_IDLE = 10_000
_PER_ADDRESS = 1000  # as configured by default
_BEGINNINGS = (b"", b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET /v2/ HTTP/1.1\r\nHost: loc")
_KIB = 1024
_PATIENCE = 60.0
_CHUNKED = "Transfer-Encoding: chunked"
_USUAL_FILES = 1024
_NOISE = (
    b"\0",
    b"\r\n",
    b"\n",
    b" ",
    b":",
    b"%",
    b"%2f",
    b"../",
    b"\xff",
    b";",
    b"0",
    b"9" * 30,
    b"\r\n\r\n",
    b"chunked",
)


@pytest.fixture
def registry(embedded_server: Server, tmp_path: Path) -> Iterator[Registry]:
    """A registry with one worker, as people start it: with the open files that a shell allows."""
    with (
        many_files(_USUAL_FILES),
        created_database(embedded_server) as url,
        serving(tmp_path / "data", "--workers", "1", SLIPWAY_DATABASE_URL=url) as running,
    ):
        yield running
        assert "Traceback" not in running.log.read_text()


def memory(registry: Registry) -> int:
    """Return how much memory the worker holds, in bytes."""
    (worker,) = registry.workers()
    line = next(each for each in Path(f"/proc/{worker}/status").read_text().splitlines() if each.startswith("VmRSS"))
    return int(line.split()[1]) * _KIB


@contextmanager
def many_files(count: int) -> Iterator[None]:
    """Allow this process, and what it starts, so many open files and no more."""
    usual, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert most >= count, f"this test needs {count} open files, and the hard limit is {most}: ulimit -Hn {count}"
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (usual, most))


def connected(registry: Registry, source: str = "127.0.0.1") -> socket.socket:
    """Connect from an address of the loopback network."""
    return socket.create_connection(("127.0.0.1", registry.port), _PATIENCE, (source, 0))


def check_others(registry: Registry) -> None:
    """Push and pull as usual."""
    wire = Wire(f"127.0.0.1:{registry.port}")
    content = random.randbytes(300_000)
    digest = wire.push_blob("hostile/others", content)
    assert wire.blob("hostile/others", digest) == content


def test_ten_thousand_idle_connections(registry: Registry) -> None:
    """Silent ones, used ones, and ones in the middle of a head: each costs little, and nobody else notices."""
    check_others(registry)
    before = memory(registry)
    with many_files(_IDLE + 500), ExitStack() as stack:
        for number in range(_IDLE):
            idle = stack.enter_context(closing(connected(registry, f"127.0.1.{number // _PER_ADDRESS + 1}")))
            idle.sendall(_BEGINNINGS[number % len(_BEGINNINGS)])
        with closing(connected(registry, "127.0.1.1")) as one_more:
            assert one_more.recv(_KIB).startswith(b"HTTP/1.1 503 ")
        check_others(registry)
        assert memory(registry) - before < _IDLE * 32 * _KIB


@pytest.mark.parametrize(("clients", "sent"), [(900, 1), (250, 20 * _KIB), (100, 300 * _KIB)])
def test_slow_bodies(registry: Registry, clients: int, sent: int) -> None:
    """Uploads that announce much and send little: nothing, or what a first buffer or a larger one is lent for."""
    check_others(registry)
    before = memory(registry)
    wire = Wire(f"127.0.0.1:{registry.port}")
    with ExitStack() as stack:
        slow = []
        for _ in range(clients):
            slow.append(stack.enter_context(closing(connected(registry))))
            session = wire.start_upload("hostile/slow")
            slow[-1].sendall(_request("PATCH", session, "Content-Length: 1000000000", bytes(sent)))
        check_others(registry)
        # Before they are given up as too slow, in a minute, some may have had to give way.
        answered, _, _ = select.select(slow, (), (), 0)
        assert {each.recv(_KIB).split(b"\r\n")[0] for each in answered} <= {b"HTTP/1.1 503 Service Unavailable"}
        assert memory(registry) - before < 256 * _KIB**2


@pytest.mark.parametrize("chunk", [b"1\r\nx\r\n", b"10000\r\n" + b"x" * 0x10000 + b"\r\n", b"1;a=b\r\nx\r\n"])
@pytest.mark.parametrize("path", ["/v2/hostile/endless/manifests/latest", "/v2/hostile/endless/nothing/here", "/v3/"])
def test_endless_bodies(registry: Registry, path: str, chunk: bytes) -> None:
    """Bodies that never end are given up where they may not be so long, or are not wanted at all."""
    check_others(registry)
    before = memory(registry)
    with closing(connected(registry)) as endless:
        endless.sendall(_request("PUT", path, _CHUNKED))
        pieces = chunk * (0x10000 // len(chunk) + 1)
        deadline = time.monotonic() + _PATIENCE
        with suppress(BrokenPipeError, ConnectionResetError):
            while time.monotonic() < deadline:
                endless.sendall(pieces)
            pytest.fail("the registry goes on taking it")
    check_others(registry)
    assert memory(registry) - before < 64 * _KIB**2


def test_requests_without_sense(registry: Registry, seed: int, soak: float) -> None:
    """Whatever is sent is answered by a refusal, or by nothing; nothing is an error of the registry."""
    chance = random.Random(seed)
    digest = sha256(b"")
    repository = "/v2/hostile/a"
    proper = [
        _request("GET", "/v2/"),
        _request("GET", f"{repository}/blobs/{digest}", "Range: bytes=0-5,7-9"),
        _request("POST", f"{repository}/blobs/uploads/?digest={digest}", "Content-Length: 0"),
        _request("POST", f"{repository}/blobs/uploads/?mount=x&from=y", _CHUNKED, b"5\r\nhello\r\n0\r\n\r\n"),
        _request("PUT", f"{repository}/manifests/v1", "Content-Length: 21", b'{"schemaVersion": 2 }'),
        _request("GET", f"{repository}/tags/list?n=5&last=x", "X-Forwarded-For: 1.2.3.4"),
        _request("GET", "/v2/_catalog?n=5", "Forwarded: for=1.2.3.4;proto=https"),
        _request("POST", "/api/accounts", "Content-Type: application/json\r\nContent-Length: 12", b'{"name":"x"}'),
    ]
    for _ in range(20_000 if soak else 600):
        status = sent(registry, mutated(chance, chance.choice(proper)))
        assert status is None or status < 500
    check_others(registry)


def _request(method: str, path: str, headers: str = "Accept: */*", body: bytes = b"") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n\r\n".encode() + body


def mutated(chance: random.Random, request: bytes) -> bytes:
    """Change a request here and there."""
    data = bytearray(request)
    for _ in range(chance.randrange(1, 4)):
        place = chance.randrange(len(data))
        match chance.randrange(4):
            case 0:
                data[place : place + chance.randrange(1, 8)] = b""
            case 1:
                data[place:place] = chance.choice(_NOISE)
            case 2:
                data[place] = chance.randrange(256)
            case 3:
                begin = chance.randrange(len(data))
                data[place:place] = data[begin : begin + chance.randrange(1, 40)]
    return bytes(data)


def sent(registry: Registry, request: bytes) -> int | None:
    """Send bytes and nothing more; return the last status of what comes, None when nothing does."""
    with closing(connected(registry)) as connection:
        received = b""
        with suppress(ConnectionResetError, BrokenPipeError):
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65536):
                received += piece
    lines = [line for line in received.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
    return int(lines[-1].split()[1]) if lines else None
