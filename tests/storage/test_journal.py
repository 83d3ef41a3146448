"""The journal of counters: what was added is there after the process is gone, once."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from gateway.errors import ConfigurationError
from gateway.ports.counters import Count, CountKey, Kind
from gateway.storage import journal as journals
from gateway.storage.journal import FileBacklog, FileJournal, JournalUnusable
from gateway.storage.shelf import FileShelf

if TYPE_CHECKING:
    from pathlib import Path

INSTALLATION = UUID(int=7)


def key(number: int = 1) -> CountKey:
    return CountKey(Kind.PULL, 1, 2, number, 0, 480_000)


def written(backlog: FileBacklog) -> list[tuple[int, tuple[Count, ...]]]:
    """Take every batch out, as if it were written."""
    found = []
    while (batch := backlog.oldest_batch()) is not None:
        found.append((batch.number, batch.counts))
        backlog.drop_batch(batch.number)
    return found


def only(folder: Path) -> Path:
    (path,) = folder.glob("*.pulls")
    return path


def test_a_killed_process_leaves_what_it_counted(tmp_path: Path) -> None:
    """SIGKILL takes nothing: frozen and unfrozen counts are found by whoever comes next."""
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - another process
        journal = FileJournal.create(tmp_path, INSTALLATION)
        journal.add(key(1), 1, 100)
        journal.freeze()
        journal.add(key(1), 2, 200)
        journal.add(key(2), 5, 300)
        os.write(told, b".")
        signal.pause()
    os.read(ready, 1)
    with pytest.raises(JournalUnusable, match="lives"):
        FileBacklog.take_over(only(tmp_path), INSTALLATION)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)

    backlog = FileBacklog.take_over(only(tmp_path), INSTALLATION)

    assert written(backlog) == [(1, (Count(key(1), 1, 100),)), (2, (Count(key(1), 2, 200), Count(key(2), 5, 300)))]
    backlog.remove()
    backlog.close()
    assert list(tmp_path.iterdir()) == []


def test_a_batch_keeps_its_number_until_it_is_dropped(tmp_path: Path) -> None:
    """Whoever takes over repeats the same batch under the same number, and later ones get higher numbers."""
    journal = FileJournal.create(tmp_path, INSTALLATION)
    journal.add(key(), 1, 1)
    journal.freeze()
    journal.add(key(), 1, 1)
    journal.close()

    for _ in range(2):
        backlog = FileBacklog.take_over(only(tmp_path), INSTALLATION)
        batch = backlog.oldest_batch()
        assert batch is not None
        assert (batch.number, batch.counts) == (1, (Count(key(), 1, 1),))
        backlog.close()
    backlog = FileBacklog.take_over(only(tmp_path), INSTALLATION)
    assert [number for number, _ in written(backlog)] == [1, 2]
    backlog.close()


def test_counts_go_on_while_batches_wait(tmp_path: Path) -> None:
    """A journal holds several batches; when there is no room at all it says so, and has lost nothing."""
    journal = FileJournal.create(tmp_path, INSTALLATION)
    room = journals._COUNTERS * journals._REGIONS

    accepted = sum(journal.add(key(number), 1, 1) for number in range(room + 10))

    assert accepted == room
    assert journal.add(key(room - 1), 1, 1), "a counter that is in use needs no room"
    assert sum(each.amount for _, counts in written(journal) for each in counts) == room - journals._COUNTERS
    journal.sync()
    assert journal.add(key(room + 1), 1, 1)
    journal.close()


def test_a_cleared_region_is_used_again_only_after_a_sync(tmp_path: Path) -> None:
    """Or a crash of the machine could bring its old counts back into a new batch."""
    journal = FileJournal.create(tmp_path, INSTALLATION)
    for number in range(journals._REGIONS - 1):
        journal.add(key(number), 1, 1)
        assert journal.freeze()
    journal.add(key(99), 1, 1)
    written(journal)

    assert not journal.freeze()
    journal.sync()
    assert journal.freeze()
    journal.close()


def test_a_key_that_is_torn_counts_for_nothing(tmp_path: Path) -> None:
    """After a crash of the machine, a page may be there without its neighbour."""
    journal = FileJournal.create(tmp_path, INSTALLATION)
    journal.add(key(1), 1, 1)
    journal.add(key(2), 1, 1)
    journal.close()
    content = bytearray(only(tmp_path).read_bytes())
    first_key = journals._HEADER_SIZE + journals._REGION_HEADER
    content[first_key + 8] ^= 0xFF
    only(tmp_path).write_bytes(content)

    backlog = FileBacklog.take_over(only(tmp_path), INSTALLATION)

    assert written(backlog) == [(1, (Count(key(2), 1, 1),))]
    backlog.close()


def test_a_removed_journal_is_not_taken_over_by_who_came_late(tmp_path: Path) -> None:
    """Two processes find the same file: the one that waited for the lock sees that it is gone."""
    FileJournal.create(tmp_path, INSTALLATION).close()
    path = only(tmp_path)
    late = os.open(path, os.O_RDWR)
    first = FileBacklog.take_over(path, INSTALLATION)
    first.remove()
    first.close()
    FileJournal.create(tmp_path, INSTALLATION).close()
    only(tmp_path).rename(path)

    with pytest.raises(JournalUnusable, match="emptied and deleted"):
        journals._checked(path, late, INSTALLATION)
    os.close(late)


@pytest.mark.parametrize("content", [b"", b"SLIPPUL1", bytes(64), bytes(journals._FILE_SIZE)])
def test_other_files_are_left_alone(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """What is no journal is told once and never touched."""
    file = tmp_path / f"{uuid4()}.pulls"
    file.write_bytes(content)
    shelf = FileShelf(tmp_path, INSTALLATION)

    assert shelf.take_over() == []
    assert shelf.take_over() == []

    assert file.read_bytes() == content
    assert len([record for record in caplog.records if "no journal" in record.getMessage()]) == 1


def test_a_journal_of_another_installation_is_left_alone(tmp_path: Path) -> None:
    """Its ids mean something else in this database."""
    FileShelf(tmp_path, UUID(int=8)).create().close()

    assert FileShelf(tmp_path, INSTALLATION).take_over() == []


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """With what to do about it."""
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigurationError, match="SLIPWAY_RUNTIME_DIR"):
        FileShelf(tmp_path / "file", INSTALLATION).create()
