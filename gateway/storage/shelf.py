"""The folder of journals: one for each process that counts, and those that processes have left behind."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from gateway.durable import make_folder
from gateway.errors import ConfigurationError
from gateway.storage.journal import SUFFIX, FileBacklog, FileJournal, JournalUnusable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from uuid import UUID

_log = logging.getLogger(__name__)


class FileShelf:
    """A ports.counters.JournalShelf."""

    def __init__(self, folder: Path, installation: UUID) -> None:
        self._folder = folder
        self._installation = installation
        self._told: set[str] = set()

    def create(self) -> FileJournal:
        """See the port; raises ConfigurationError."""
        try:
            make_folder(self._folder, 0o700)
            return FileJournal.create(self._folder, self._installation)
        except OSError as error:
            raise ConfigurationError(
                f"pulls cannot be counted in {self._folder}: {error.strerror or error}; "
                "set SLIPWAY_RUNTIME_DIR to a folder that this user may write to"
            ) from error

    def take_over(self) -> Sequence[FileBacklog]:
        """See the port."""
        found = []
        for path in sorted(self._folder.glob(f"*{SUFFIX}")):
            # It may be emptied and deleted by another process at this moment.
            with suppress(FileNotFoundError):
                try:
                    found.append(FileBacklog.take_over(path, self._installation))
                except JournalUnusable as reason:
                    self._tell(path, reason)
        return found

    def _tell(self, path: Path, reason: JournalUnusable) -> None:
        """Say once what is wrong with a file; nothing is wrong with those of processes that live."""
        if reason.is_wrong and str(path) not in self._told:
            self._told.add(str(path))
            _log.warning("%s", reason)
