"""Addresses with variable parts in braces: their form, and what is to be found at one."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Protocol, TypeVar
from urllib.parse import unquote_to_bytes

from gateway.errors import MethodNotAllowed, RouteUnknown

if TYPE_CHECKING:
    from collections.abc import Iterable


class Addressed(Protocol):
    """Something that answers one method at the addresses of one path."""

    @property
    def method(self) -> str:
        """The method that it answers."""
        ...

    @property
    def path(self) -> str:
        """With variable parts in braces."""
        ...


T = TypeVar("T", bound=Addressed)


def find_at(things: Iterable[T], method: str, path: str, otherwise: str) -> tuple[T, dict[str, str]]:
    """Return what answers a method at an undecoded path, and the variable parts, decoded.

    Raises MethodNotAllowed, or RouteUnknown with the sentence ``otherwise``.
    """
    allowed = []
    for each in things:
        match = _form_of(each.path).fullmatch(path)
        if match is not None and each.method == method:
            return each, {name: _decoded(text) for name, text in match.groupdict().items()}
        if match is not None:
            allowed.append(each.method)
    if allowed:
        raise MethodNotAllowed(allowed)
    raise RouteUnknown(otherwise)


@cache
def _form_of(path: str) -> re.Pattern[str]:
    """Return the form of a path's addresses, undecoded; groups are the variable parts."""
    pieces = re.split(r"\{([a-z_]+)\}", path)
    return re.compile("".join(f"(?P<{p}>[^/]+)" if i % 2 else re.escape(p) for i, p in enumerate(pieces)))


def _decoded(text: str) -> str:
    try:
        decoded = unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError as error:
        raise RouteUnknown("the address is not UTF-8") from error
    if "\0" in decoded:
        raise RouteUnknown("the address contains a NUL character")
    return decoded
