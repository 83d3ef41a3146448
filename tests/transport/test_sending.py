"""Files on their way to clients: by sendfile where that works, by copying elsewhere, and always the right bytes."""

from __future__ import annotations

import asyncio
import os
import random
import threading
from typing import TYPE_CHECKING, Any

import pytest

from gateway.errors import ObjectDamaged
from gateway.transport import outlet, residency, sending, splice, trial
from gateway.transport.residency import is_resident
from gateway.transport.sending import send_file, ways
from transport.exchanges import SECONDS, Reader, is_on_disk, open_descriptors, settled
from transport.exchanges import sending as serving

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from aiohttp.web import BaseRequest, StreamResponse

CONTENT = random.Random(3).randbytes(6 << 20)
SPANS = [
    (0, 1),
    (5, 64 << 10),
    (5, (64 << 10) + 1),
    (1, (1 << 20) + 3),
    (0, len(CONTENT)),
    (len(CONTENT) - 70_000, 70_000),
]


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "content"
    path.write_bytes(CONTENT)
    descriptor = os.open(path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


@pytest.fixture(autouse=True)
def usual_ways() -> Iterator[None]:
    yield
    ways.sendfile = ways.splice = True
    splice.close_idle_pipes()


def from_file(file: int, start: int, length: int) -> Callable[[BaseRequest, StreamResponse], Awaitable[None]]:
    async def send(request: BaseRequest, response: StreamResponse) -> None:
        await send_file(request, response, file, start, length)

    return send


@pytest.mark.parametrize("by_sendfile", [True, False])
@pytest.mark.parametrize(("start", "length"), SPANS)
async def test_content(file: int, start: int, length: int, by_sendfile: bool) -> None:
    ways.sendfile = by_sendfile
    async with serving(from_file(file, start, length), length) as sender:
        reader = Reader(sender.port)
        for _ in range(3):
            await reader.ask()
            assert await reader.body(length) == CONTENT[start : start + length]
            assert await sender.outcome() is None
        reader.vanish()


async def test_pieces_of_text_and_file_in_turn(file: int) -> None:
    async def send(request: BaseRequest, response: StreamResponse) -> None:
        for start, length in SPANS:
            await response.write(b"<" * 100_000)
            await send_file(request, response, file, start, length)
        await response.write(b">")

    expected = b"".join(b"<" * 100_000 + CONTENT[start : start + length] for start, length in SPANS) + b">"
    async with serving(send, len(expected)) as sender:
        reader = Reader(sender.port)
        for _ in range(2):
            await reader.ask()
            assert await reader.body(len(expected)) == expected
        reader.vanish()


async def test_a_file_does_not_overtake_what_the_transport_still_holds(file: int) -> None:
    before = b"<" * (8 << 20)

    async def send(request: BaseRequest, response: StreamResponse) -> None:
        assert request.transport is not None
        request.transport.write(before)
        assert request.transport.get_write_buffer_size()
        await send_file(request, response, file, 0, len(CONTENT))

    async with serving(send, len(before) + len(CONTENT)) as sender:
        reader = Reader(sender.port)
        await reader.ask()
        assert await reader.body(len(before) + len(CONTENT)) == before + CONTENT
        reader.vanish()


async def test_a_slow_reader(file: int) -> None:
    async with serving(from_file(file, 0, len(CONTENT)), len(CONTENT)) as sender:
        reader = Reader(sender.port)
        await reader.ask()
        assert await reader.body(len(CONTENT), slowly=True) == CONTENT
        assert await sender.outcome() is None
        reader.vanish()


@pytest.mark.parametrize("by_sendfile", [True, False])
async def test_a_reader_that_vanishes(file: int, by_sendfile: bool) -> None:
    ways.sendfile = by_sendfile
    async with serving(from_file(file, 0, len(CONTENT)), len(CONTENT)) as sender:
        before = open_descriptors()
        for _ in range(5):
            reader = Reader(sender.port)
            await reader.ask()
            await reader.read(1000)
            reader.vanish()
            assert isinstance(await sender.outcome(), ConnectionError)
        assert await settled(open_descriptors, before) == before


@pytest.mark.parametrize("by_sendfile", [True, False])
async def test_a_reader_that_stalls_is_dropped(file: int, by_sendfile: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    ways.sendfile = by_sendfile
    monkeypatch.setattr(outlet, "SECONDS_WITHOUT_A_BYTE", 0.2)
    async with serving(from_file(file, 0, len(CONTENT)), len(CONTENT)) as sender:
        reader = Reader(sender.port)
        await reader.ask()
        assert isinstance(await sender.outcome(), TimeoutError)
        assert len(await _rest(reader)) < len(CONTENT)
        reader.vanish()


@pytest.mark.parametrize("by_sendfile", [True, False])
async def test_a_reader_that_is_slow_is_waited_for(
    file: int, by_sendfile: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as it takes anything at all: it may need minutes until the socket takes more."""
    ways.sendfile = by_sendfile
    monkeypatch.setattr(outlet, "SECONDS_WITHOUT_A_BYTE", 0.05)
    async with serving(from_file(file, 0, len(CONTENT)), len(CONTENT)) as sender:
        reader = Reader(sender.port)
        await reader.ask()
        assert await reader.slow_body(len(CONTENT), monkeypatch) == CONTENT
        assert await sender.outcome() is None
        reader.vanish()


@pytest.mark.parametrize("by_sendfile", [True, False])
async def test_a_file_that_became_shorter(tmp_path: Path, by_sendfile: bool) -> None:
    ways.sendfile = by_sendfile
    path = tmp_path / "short"
    path.write_bytes(CONTENT[:1_500_000])
    with path.open("rb") as short:
        async with serving(from_file(short.fileno(), 0, 1_600_000), 1_600_000) as sender:
            reader = Reader(sender.port)
            await reader.ask()
            assert len(await _rest(reader)) < 1_600_000
            assert isinstance(await sender.outcome(), ObjectDamaged)
            reader.vanish()


async def test_a_cold_file_does_not_hold_up_others(tmp_path: Path, file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if not is_on_disk(tmp_path / "content"):
        pytest.skip("files are always in memory here")
    os.fsync(file)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    if is_resident(file, 0, len(CONTENT)):
        pytest.skip("the file cannot be made cold")
    loop, really = asyncio.get_running_loop(), residency._read
    turned: list[bool] = []

    def when_others_had_a_turn(descriptor: int, start: int, length: int) -> None:
        turn = threading.Event()
        loop.call_soon_threadsafe(turn.set)
        turned.append(turn.wait(SECONDS))
        really(descriptor, start, length)

    monkeypatch.setattr(residency, "_read", when_others_had_a_turn)
    async with serving(from_file(file, 0, len(CONTENT)), len(CONTENT)) as sender:
        reader = Reader(sender.port)
        await reader.ask()
        assert await reader.body(len(CONTENT)) == CONTENT
        reader.vanish()
    assert turned
    assert all(turned)


async def test_a_file_system_that_cannot_tell(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    really, sendfile = residency._read, os.sendfile

    def note(descriptor: int, start: int, length: int) -> None:
        read.append(start)
        really(descriptor, start, length)

    monkeypatch.setattr(residency, "_read", note)
    monkeypatch.setattr("gateway.transport.sendfile.is_resident", lambda *_: False)
    # A client that has room for so much, and never for a round number.
    monkeypatch.setattr(os, "sendfile", lambda out, file, start, count: sendfile(out, file, start, min(count, 300_001)))
    async with serving(from_file(file, 0, len(CONTENT)), len(CONTENT)) as sender:
        reader = Reader(sender.port)
        await reader.ask()
        assert await reader.body(len(CONTENT)) == CONTENT
        reader.vanish()
    # Once in a while, not for each call, and before anything is sent of what follows.
    assert read == [0, 4 << 20]


async def _rest(reader: Reader) -> bytes:
    try:
        return await reader.body(len(CONTENT))
    except ConnectionError:
        return b""


# --- the trial -----------------------------------------------------------------------------------


async def test_both_ways_work_here() -> None:
    ways.sendfile = ways.splice = False
    before = open_descriptors()
    await trial.try_ways()
    assert ways.sendfile
    assert ways.splice
    splice.close_idle_pipes()
    assert await settled(open_descriptors, before) <= before + 1


def _lying(name: str) -> Callable[..., int]:
    really = getattr(os, name)

    def lie(*arguments: Any, **options: Any) -> int:
        count = really(*arguments, **options)
        return int(count) - 1 if count > 1 else int(count)

    return lie


def _refusing(_name: str) -> Callable[..., int]:
    def refuse(*_arguments: Any, **_options: Any) -> int:
        raise OSError(38, "Function not implemented")

    return refuse


@pytest.mark.parametrize("broken", [_lying, _refusing])
@pytest.mark.parametrize("name", ["sendfile", "splice"])
async def test_a_way_that_does_not_work_is_not_used(
    file: int,
    name: str,
    broken: Callable[[str], Callable[..., int]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(trial, "_SECONDS", 1.0)
    monkeypatch.setattr(os, name, broken(name))
    await trial.try_ways()
    assert getattr(ways, name) is False
    assert f"{name} does not work here" in caplog.text
    async with serving(from_file(file, 0, len(CONTENT)), len(CONTENT)) as sender:
        reader = Reader(sender.port)
        await reader.ask()
        assert await reader.body(len(CONTENT)) == CONTENT
        reader.vanish()


async def test_without_a_socket_bytes_are_copied(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with TLS, where the socket takes other bytes than the client is to see."""
    copied = []
    really = sending._pump_file

    async def pump(*arguments: Any) -> None:
        copied.append(True)
        await really(*arguments)

    monkeypatch.setattr(sending, "_pump_file", pump)

    async def send(request: BaseRequest, response: StreamResponse) -> None:
        assert request.transport is not None
        monkeypatch.setattr(outlet, "is_plain", lambda _: False)
        await send_file(request, response, file, 0, len(CONTENT))

    async with serving(send, len(CONTENT)) as sender:
        reader = Reader(sender.port)
        await reader.ask()
        assert await reader.body(len(CONTENT)) == CONTENT
        reader.vanish()
    assert copied
