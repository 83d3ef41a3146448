"""File storage across a loss of power: whatever is answered was synced before, contents, names and folders alike.

Every call that makes, fills or syncs something is watched. What was written counts as lost until its file was synced
after that, and a name until its folder was.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from contract.uploads import BUCKET, Ledger, Session, feed, take
from gateway.db import embedded
from gateway.ports.storage import Location
from gateway.storage import writing
from gateway.storage.file_buckets import FileBuckets
from gateway.storage.filesystem import FilesystemStorage
from gateway.storage.shelf import FileShelf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CONTENT = random.Random(3).randbytes(3 << 20)


class Power:
    """Knows what below a folder would be lost with the power."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._contents: set[Path] = set()
        self._names: set[Path] = set()

    def check(self) -> None:
        """Fail if something would be lost."""
        # What is gone again cannot be lost.
        lost = [path for path in self._contents | self._names if path.exists()]
        assert not lost, f"not synced: {', '.join(str(path.relative_to(self._root)) for path in sorted(lost))}"

    def named(self, path: Path) -> None:
        if self._is_ours(path):
            self._names.add(path)

    def written(self, path: Path) -> None:
        if self._is_ours(path):
            self._contents.add(path)

    def moved(self, old: Path, new: Path) -> None:
        if self._is_ours(new):
            self._names.add(new)
            self._names.discard(old)
        if old in self._contents:
            self._contents.add(new)

    def synced(self, path: Path) -> None:
        self._contents.discard(path)
        self._names = {each for each in self._names if each.parent != path}

    def _is_ours(self, path: Path) -> bool:
        return path.is_relative_to(self._root)


def path_of(descriptor: int) -> Path:
    return Path(f"/proc/self/fd/{descriptor}").readlink()


@pytest.fixture
def power(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Power]:
    """Watch the calls; opening is seen by the interpreter's own hook, which the one of a past test leaves alone."""
    watched: list[Power] = [Power(tmp_path)]

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        if not watched or event != "open" or not isinstance(arguments[0], str | bytes | os.PathLike):
            return
        path, flags = Path(os.fsdecode(arguments[0])), arguments[2]
        if flags & os.O_CREAT and not path.exists():
            watched[0].named(path)
        if arguments[1] is not None and set("wxa+") & set(str(arguments[1])):
            watched[0].written(path)

    def watch(name: str, tell: Callable[..., None]) -> None:
        real = getattr(os, name)

        def call(*arguments: Any, **options: Any) -> Any:
            result = real(*arguments, **options)
            tell(*arguments)
            return result

        monkeypatch.setattr(os, name, call)

    seen = watched[0]
    sys.addaudithook(hear)
    watch("mkdir", lambda path, *_: seen.named(Path(path)))
    watch("pwrite", lambda descriptor, *_: seen.written(path_of(descriptor)))
    watch("write", lambda descriptor, *_: seen.written(path_of(descriptor)))
    watch("ftruncate", lambda descriptor, *_: seen.written(path_of(descriptor)))
    watch("posix_fallocate", lambda descriptor, *_: seen.written(path_of(descriptor)))
    for name in ("rename", "replace"):
        watch(name, lambda old, new, *_: seen.moved(Path(old), Path(new)))
    watch("link", lambda _, new, *__: seen.named(Path(new)))
    for name in ("fsync", "fdatasync"):
        watch(name, lambda descriptor: seen.synced(path_of(descriptor)))
    yield seen
    watched.clear()


class Careful(Session):
    """A session at whose every record nothing may be unsynced: what a row says of a file is true after a crash."""

    power: Power

    async def progressed(self, *arguments: Any) -> None:
        self.power.check()
        await super().progressed(*arguments)


@pytest.fixture
def session(power: Power) -> Session:
    made = Careful(Ledger(), random.Random())
    made.power = power
    return made


@pytest.fixture
async def files(power: Power, tmp_path: Path) -> FilesystemStorage:
    """A storage whose folders are all new."""
    storage = FilesystemStorage(tmp_path / "data" / "buckets")
    await storage.check_bucket(BUCKET)
    power.check()
    return storage


def test_what_is_not_synced_is_noticed(power: Power, tmp_path: Path) -> None:
    """The watch itself: contents and names are lost until they are synced, each of them."""
    (tmp_path / "folder").mkdir()
    path = tmp_path / "folder" / "file"
    with path.open("xb") as file:
        file.write(b"x")
        file.flush()
        for descriptor in (file.fileno(), os.open(path.parent, os.O_RDONLY), os.open(tmp_path, os.O_RDONLY)):
            with pytest.raises(AssertionError, match="not synced"):
                power.check()
            os.fsync(descriptor)
            if descriptor != file.fileno():
                os.close(descriptor)
    power.check()
    path.rename(path.with_name("other"))
    with pytest.raises(AssertionError, match="other"):
        power.check()


@pytest.mark.parametrize("size", [0, 1, len(CONTENT)])
async def test_an_upload_is_synced_when_it_is_answered(
    files: FilesystemStorage, session: Session, power: Power, size: int
) -> None:
    """Each PATCH, and the PUT at the end, in folders that nobody had made before."""
    for data in (CONTENT[:size], CONTENT[size:], b""):
        async with files.appender(BUCKET, session.begin(), session, length=None) as appender:
            await feed(appender, session, data)
            session.commit(await appender.checkpoint(last=True))
            power.check()
    async with files.appender(BUCKET, session.begin(), session, length=0) as appender:
        await appender.complete()
        power.check()


async def test_an_empty_blob_has_a_name_that_lasts(files: FilesystemStorage, session: Session, power: Power) -> None:
    async with files.appender(BUCKET, session.begin(), session, length=0) as appender:
        await appender.complete()
        power.check()


async def test_progress_is_synced_before_it_is_recorded(
    files: FilesystemStorage, session: Session, power: Power, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the way, whichever thread writes, and when a body is cut off."""
    monkeypatch.setattr(writing, "RECORD_EVERY", 1 << 20)
    async with files.appender(BUCKET, session.begin(), session, length=None) as appender:
        await take(appender, session, CONTENT)
        await feed(appender, session, CONTENT)
        await appender.salvage()
        power.check()
    assert session.calls.count("progressed") > 2


async def test_what_is_stored_in_one_go_is_synced(files: FilesystemStorage, power: Power) -> None:
    for _ in range(2):
        await files.store(Location(BUCKET, "slipway/test/catalogue/1/0000000000000001-abc"), CONTENT)
        power.check()


async def test_a_marker_is_synced(files: FilesystemStorage, power: Power, tmp_path: Path) -> None:
    buckets = FileBuckets(tmp_path / "data" / "buckets", files)
    for content, instead in ((b"first", None), (b"second", b"first")):
        assert await buckets.write_marker(BUCKET, content, instead=instead)
        power.check()


def test_a_journal_is_there_after_a_loss_of_power(power: Power, tmp_path: Path) -> None:
    """What is counted in it is synced later; without its name, nothing of it would be left."""
    journal = FileShelf(tmp_path / "new" / "run", uuid4()).create()
    power.check()
    journal.close()


def test_a_data_folder_is_there_after_a_loss_of_power(power: Power, tmp_path: Path) -> None:
    """With everything above it that was made for it."""
    data_dir = tmp_path / "new" / "data"
    embedded.make_data_folder(data_dir, 0o711)
    assert data_dir.stat().st_mode & 0o777 == 0o711
    power.check()
