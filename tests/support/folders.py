"""Folders for data that a database lies in."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def open_folder(place: Path | None = None) -> Iterator[Path]:
    """Make a folder that the database's own user can pass through, which pytest's own are not for root."""
    with TemporaryDirectory(prefix="slipway-test-", dir=place) as made:
        folder = Path(made)
        folder.chmod(0o711)
        yield folder
