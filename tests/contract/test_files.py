"""What is special about files: locks, folders, durability, a full disk."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import threading
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from contract.uploads import BUCKET, Session, feed, finish, patch
from contract.watched import WatchedFiles
from gateway.errors import (
    BucketMissing,
    ConfigurationError,
    LeaseLost,
    MultipartLost,
    ObjectMissing,
    StorageFull,
    StorageUnavailable,
    UploadBusy,
)
from gateway.model.endpoints import Endpoint
from gateway.model.ranges import ByteRange
from gateway.ports.storage import Location
from gateway.storage import files as files_module
from gateway.storage import writing
from gateway.storage.files import LocalFile

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1 << 20


@pytest.fixture
def session(files: WatchedFiles) -> Session:
    return Session(files.ledger, random.Random())


def path_of(root: Path, session: Session) -> Path:
    assert session.key is not None
    return root / BUCKET / session.key


async def test_progress_is_recorded_on_the_way(
    files: WatchedFiles, session: Session, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "RECORD_EVERY", 4 * MIB)
    await finish(files, session, content)
    assert session.calls.count("progressed") == 3


async def test_nothing_is_recorded_before_it_is_synced(
    files: WatchedFiles, session: Session, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = 0

    def sync(descriptor: int) -> None:
        nonlocal synced
        synced = os.fstat(descriptor).st_size

    async def progressed(solid: int, *_: object) -> None:
        assert solid <= synced
        recorded.append(solid)

    recorded: list[int] = []
    monkeypatch.setattr(os, "fdatasync", sync)
    monkeypatch.setattr(writing, "RECORD_EVERY", 2 * MIB)
    monkeypatch.setattr(Session, "progressed", staticmethod(progressed))
    await patch(files, session, content)
    assert synced == len(content)
    assert recorded


async def test_folders_and_files_are_synced_before_the_first_answer(
    files: WatchedFiles, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[str] = set()
    real = os.fsync

    def sync(descriptor: int) -> None:
        synced.add(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    await patch(files, session, b"x")
    folder = path_of(tmp_path, session).parent
    chain = [folder, *folder.parents]
    assert {str(each) for each in chain[: chain.index(tmp_path / BUCKET) + 1]} <= synced


async def test_a_writer_that_does_not_stop(files: WatchedFiles, session: Session) -> None:
    async with files.appender(BUCKET, session.begin(), session, length=None) as appender:
        await feed(appender, session, b"first")
        session.commit(await appender.checkpoint(last=False))
        with pytest.raises(UploadBusy):
            await patch(files, session, b"second")


async def test_a_writer_that_stops_in_time(tmp_path: Path) -> None:
    files = WatchedFiles(tmp_path, lock_seconds=20.0)
    await files.check_bucket(BUCKET)
    session = Session(files.ledger, random.Random())
    async with files.appender(BUCKET, session.begin(), session, length=None) as appender:
        await feed(appender, session, b"first")
        session.commit(await appender.checkpoint(last=False))
        successor = asyncio.create_task(patch(files, session, b" and second"))
        await asyncio.sleep(0)
    await successor
    await finish(files, session)
    assert session.received == b"first and second"


async def test_who_lost_the_lease_while_waiting_cuts_nothing(
    files: WatchedFiles, session: Session, tmp_path: Path
) -> None:
    """A process that slept since it read the row must not cut a file which has become a blob."""
    await patch(files, session, b"first")
    stale = session.begin()
    await finish(files, session, b" and second")
    session.lose_lease_at = "confirm"
    with pytest.raises(LeaseLost):
        async with files.appender(BUCKET, stale, session, length=None):
            pass
    assert path_of(tmp_path, session).read_bytes() == b"first and second"


async def test_who_lost_the_lease_before_the_file_was_locked_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that slept since it made a file must not write into what has become a blob."""
    files = WatchedFiles(tmp_path, lock_seconds=20.0)
    await files.check_bucket(BUCKET)
    session = Session(files.ledger, random.Random())
    asleep: list[LocalFile] = []
    made, awake = asyncio.Event(), asyncio.Event()
    real = LocalFile.try_lock

    def try_lock(file: LocalFile) -> bool:
        if not made.is_set():
            asleep.append(file)
            made.set()
        return (file not in asleep or awake.is_set()) and real(file)

    monkeypatch.setattr(LocalFile, "try_lock", try_lock)
    sleeper = asyncio.create_task(patch(files, session, b"something else"))
    await made.wait()
    await finish(files, session, b"the blob")
    session.lose_lease_at = "confirm"
    awake.set()
    with pytest.raises(LeaseLost):
        await sleeper
    assert path_of(tmp_path, session).read_bytes() == b"the blob"


async def test_a_full_disk_is_cut_once_nobody_can_be_told_of_more(
    files: WatchedFiles, session: Session, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks after a crash in between is told of bytes that are there."""
    real_write, real_cut = os.pwrite, os.ftruncate
    cuts: list[tuple[int, int]] = []

    def write(descriptor: int, data: memoryview, offset: int) -> int:
        if session.progress.solid > MIB:
            raise OSError(errno.ENOSPC, "made to fail")
        return real_write(descriptor, data, offset)

    def cut(descriptor: int, size: int) -> None:
        cuts.append((size, session.progress.solid))
        real_cut(descriptor, size)

    await patch(files, session, content[:1000])
    monkeypatch.setattr(writing, "RECORD_EVERY", MIB)
    monkeypatch.setattr(os, "pwrite", write)
    monkeypatch.setattr(os, "ftruncate", cut)
    with pytest.raises(StorageFull):
        await patch(files, session, content[1000:])
    assert cuts[-1] == (1000, 1000)
    assert len(cuts) == 2


async def test_who_lost_the_lease_on_a_full_disk_cuts_nothing(
    files: WatchedFiles, session: Session, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else may have told the client of all that was recorded."""
    real = os.pwrite

    def write(descriptor: int, data: memoryview, offset: int) -> int:
        if session.progress.solid:
            session.lose_lease_at = "progressed"
            raise OSError(errno.ENOSPC, "made to fail")
        return real(descriptor, data, offset)

    monkeypatch.setattr(writing, "RECORD_EVERY", MIB)
    monkeypatch.setattr(os, "pwrite", write)
    with pytest.raises(LeaseLost):
        await patch(files, session, content)
    assert path_of(tmp_path, session).stat().st_size >= session.progress.solid > 0


async def test_a_file_that_is_gone_or_short(files: WatchedFiles, session: Session, tmp_path: Path) -> None:
    await patch(files, session, b"content")
    path = path_of(tmp_path, session)
    os.truncate(path, 3)
    with pytest.raises(MultipartLost):
        await finish(files, session)
    path.unlink()
    with pytest.raises(MultipartLost):
        await finish(files, session)
    assert not path.exists()


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, StorageFull), (errno.EDQUOT, StorageFull), (errno.EIO, StorageUnavailable)]
)
@pytest.mark.parametrize("function", ["pwrite", "fdatasync"])
async def test_a_disk_that_fails(
    files: WatchedFiles,
    session: Session,
    content: bytes,
    monkeypatch: pytest.MonkeyPatch,
    function: str,
    number: int,
    kind: type[Exception],
) -> None:
    await patch(files, session, content[:1000])

    def fail(*_: Any) -> None:
        raise OSError(number, "made to fail")

    with monkeypatch.context() as broken:
        broken.setattr(os, function, fail)
        with pytest.raises(kind) as caught:
            await patch(files, session, content[1000:])
        assert type(caught.value) is kind
    assert session.committed.offset == 1000
    await finish(files, session, content[1000:])
    assert session.received == content


async def test_a_disk_that_writes_little_at_once(
    files: WatchedFiles, session: Session, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: real(fd, data[:100_000], offset))
    await finish(files, session, content[: 2 * MIB + 5])


@pytest.mark.parametrize("key", ["/etc/passwd", "../x", "a/../../x", "a//b", "", ".", "a/", "a\0b", "a b", "x" * 300])
async def test_keys_that_leave_the_bucket(files: WatchedFiles, key: str) -> None:
    location = Location(BUCKET, key)
    with pytest.raises(ValueError, match="not a key"):
        await files.stat(location)
    with pytest.raises(ValueError, match="not a key"):
        await files.remove(location, None)
    with pytest.raises(ValueError, match="not a key"):
        async with files.open(location, ByteRange(0, 1)):
            pass


async def test_a_link_is_not_followed(files: WatchedFiles, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / BUCKET / "link").symlink_to(tmp_path / "secret")
    location = Location(BUCKET, "link")
    assert await files.stat(location) is None
    with pytest.raises(StorageUnavailable):
        async with files.open(location, ByteRange(0, 1)):
            pass


async def test_a_folder_is_not_an_object(files: WatchedFiles, session: Session) -> None:
    await patch(files, session, b"x")
    with pytest.raises(ObjectMissing):
        async with files.open(Location(BUCKET, "slipway/test"), ByteRange(0, 0)):
            pass


async def test_a_bucket_that_is_a_file(files: WatchedFiles, tmp_path: Path) -> None:
    (tmp_path / "occupied").write_text("")
    with pytest.raises(ConfigurationError, match="occupied cannot be used"):
        await files.check_bucket("occupied")


async def test_a_bucket_that_was_unmounted_is_not_made_again(
    files: WatchedFiles, session: Session, tmp_path: Path
) -> None:
    (tmp_path / BUCKET).rmdir()
    with pytest.raises(BucketMissing):
        await patch(files, session, b"x")
    assert not (tmp_path / BUCKET).exists()


async def test_what_lies_in_a_bucket_that_was_unmounted_is_not_gone(
    files: WatchedFiles, session: Session, tmp_path: Path
) -> None:
    """An upload would be given up, an object counted as removed, a blob as missing or damaged: for good."""
    await patch(files, session, b"first", last=False)
    location = Location(BUCKET, path_of(tmp_path, session).relative_to(tmp_path / BUCKET).as_posix())
    away = (tmp_path / BUCKET).rename(tmp_path / "away")

    with pytest.raises(BucketMissing):
        await patch(files, session, b" and second")
    with pytest.raises(BucketMissing) as raised:
        await files.stat(location)
    assert raised.value.__cause__  # without one it would be told with a traceback
    with pytest.raises(BucketMissing):
        await files.remove(location, None)
    with pytest.raises(BucketMissing):
        async with files.open(location, ByteRange(0, 5)):
            pass
    with pytest.raises(BucketMissing):
        await files.store(location, b"another")

    away.rename(tmp_path / BUCKET)
    assert await finish(files, session, b" and second") == location
    assert path_of(tmp_path, session).read_bytes() == b"first and second"


async def test_an_address_for_a_file(files: WatchedFiles) -> None:
    assert await files.presign(Location(BUCKET, "key"), Endpoint.PUBLIC) is None


async def test_a_checkpoint_syncs_after_the_last_write(
    files: WatchedFiles, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on, steps = threading.Event(), threading.Event(), list[str]()
    real = os.pwrite

    def write(descriptor: int, data: memoryview, offset: int) -> int:
        begun.set()
        go_on.wait(10)
        steps.append("written")
        return real(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", write)
    monkeypatch.setattr(os, "fdatasync", lambda _: steps.append("synced"))
    answering = asyncio.create_task(patch(files, session, b"x"))
    await asyncio.to_thread(begun.wait, 10)
    for _ in range(10):
        await asyncio.to_thread(len, steps)
    go_on.set()
    await answering
    assert steps == ["written", "synced"]


async def test_leaving_waits_for_the_thread_that_writes(
    files: WatchedFiles, session: Session, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    real = files_module.LocalFile.write
    ended = []

    def write(self: files_module.LocalFile, data: memoryview, offset: int) -> None:
        begun.set()
        go_on.wait(10)
        real(self, data, offset)
        ended.append(self.descriptor)

    monkeypatch.setattr(files_module.LocalFile, "write", write)

    async def upload() -> None:
        async with files.appender(BUCKET, session.begin(), session, length=None) as appender:
            await feed(appender, session, content)

    task = asyncio.create_task(upload())
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended
    assert -1 not in ended


async def test_idle_clients_leave_memory_to_others(
    tmp_path: Path, new_session: Callable[[WatchedFiles], Session]
) -> None:
    """Clients that have begun and send nothing hold a first buffer each, and others push past them."""
    files = WatchedFiles(tmp_path, buffer_memory=16 << 20)
    await files.check_bucket(BUCKET)
    async with AsyncExitStack() as idle:
        for _ in range(8):
            session = new_session(files)
            appender = await idle.enter_async_context(files.appender(BUCKET, session.begin(), session, length=None))
            await appender.buffer()
        async with asyncio.timeout(10):
            await finish(files, new_session(files), bytes(3 << 20))
    files.check_idle()
