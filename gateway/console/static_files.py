"""Static files: each at an address that changes with its content, so that browsers may keep it for ever."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files

PREFIX = "/console/static/"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_HASH_LENGTH = 12


@dataclass(frozen=True, slots=True)
class StaticFile:
    """One file as it is sent."""

    content: bytes
    content_type: str


class StaticFiles:
    """All files of the folder ``static``, in memory."""

    def __init__(self) -> None:
        self._addresses: dict[str, str] = {}
        self._files: dict[str, StaticFile] = {}
        for entry in (files("gateway.console") / "static").iterdir():
            stem, _, ending = entry.name.rpartition(".")
            if f".{ending}" not in _TYPES:
                continue
            content = entry.read_bytes()
            mark = hashlib.sha256(content).hexdigest()[:_HASH_LENGTH]
            address = f"{PREFIX}{stem}.{mark}.{ending}"
            self._addresses[entry.name] = address
            self._files[address] = StaticFile(content, _TYPES[f".{ending}"])

    def address(self, name: str) -> str:
        """Return where a file is to be had."""
        return self._addresses[name]

    def find(self, path: str) -> StaticFile | None:
        """Return the file at an address."""
        return self._files.get(path)
