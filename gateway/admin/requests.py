"""A request to the management API, however it comes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Request:
    """What came in."""

    method: str
    path: str
    """Undecoded, without the query."""
    query: tuple[tuple[str, str], ...] = ()
    """Decoded."""
    content_type: str | None = None
    if_match: str | None = None
    body: bytes = b""
