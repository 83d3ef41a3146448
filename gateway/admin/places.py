"""Cursors of lists that are read page by page: what the last entry is sorted by, and its id."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from gateway.admin.parsing import decode_cursor, encode_cursor
from gateway.errors import ValueRefused
from gateway.ports.images import Place

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)
_LATEST = 200_000_000_000_000_000
"""Microseconds: the year 8307."""


def encode_place(order: str, key: str | int | datetime | None, last_id: int) -> str:
    """Return the cursor of the page behind an entry; None as its key is something that has never happened."""
    if not isinstance(key, str | int):
        # What has not happened is sorted behind everything that has.
        key = ((key or _EPOCH) - _EPOCH) // timedelta(microseconds=1)
    return encode_cursor(f"{order}:{last_id}:{key}")


def decode_place(cursor: str | None, order: str) -> Place | None:
    """Return where the page before has ended, None at the beginning; raises ValueRefused."""
    text = decode_cursor(cursor)
    if text is None:
        return None
    sorted_by, _, rest = text.partition(":")
    last_id, _, key = rest.partition(":")
    if sorted_by != order or not _NUMBER.fullmatch(last_id) or "\0" in key:
        raise _refusal()
    if order == "name":
        return Place(key, int(last_id))
    if not _NUMBER.fullmatch(key) or int(key) > _LATEST:
        raise _refusal()
    number = int(key)
    return Place(number if order == "pulls" else _EPOCH + timedelta(microseconds=number), int(last_id))


def encode_number(last_id: int) -> str:
    """Return the cursor of the page behind an entry of a list that is sorted by ids."""
    return encode_cursor(str(last_id))


def decode_number(cursor: str | None) -> int | None:
    """Return the id that the page before has ended with, None at the beginning; raises ValueRefused."""
    text = decode_cursor(cursor)
    if text is not None and not _NUMBER.fullmatch(text):
        raise _refusal()
    return None if text is None else int(text)


def _refusal() -> ValueRefused:
    return ValueRefused("this is no cursor of this list: take `next` of the page before as it is", "cursor")
