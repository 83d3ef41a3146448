"""Pages of lists that are small enough to be read as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from gateway.admin.parsing import decode_cursor, encode_cursor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.admin.forms import PageQuery

T = TypeVar("T")


def cut_page(things: Iterable[T], key: Callable[[T], str], query: PageQuery) -> tuple[list[T], str | None]:
    """Return a page of things in the order of their unique keys, and the cursor of the next one; raises ValueRefused.

    The cursor is the last key: things that come or go meanwhile shift nothing.
    """
    after = decode_cursor(query.cursor)
    rest = sorted((each for each in things if after is None or key(each) > after), key=key)
    page = rest[: query.limit]
    return page, encode_cursor(key(page[-1])) if len(rest) > len(page) else None
