"""Patterns of repository names: ``*`` stands for anything within one component, ``**`` also for slashes."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_PATTERN = re.compile(r"[a-z0-9._*/-]{1,255}", re.ASCII)
_STARS = re.compile(r"(\*\*|\*)")
_MOST_STARS = 8


def check_pattern(text: str) -> str:
    """Return a pattern if it is one; raises ValueError."""
    if not _PATTERN.fullmatch(text) or "***" in text or text.startswith("/") or text.endswith("/") or "//" in text:
        raise ValueError(
            f"{text!r} is no pattern of repositories: write a name in which * stands for anything within one "
            "component and ** also for slashes, for instance team/* or ci/**"
        )
    if len(_STARS.findall(text)) > _MOST_STARS:
        raise ValueError(f"{text!r} has more than {_MOST_STARS} stars")
    return text


def matches_any(patterns: Iterable[str], repository: str) -> bool:
    """Whether a repository's name fits one of the patterns."""
    return any(_matches(pattern, repository) for pattern in patterns)


@lru_cache(maxsize=8192)
def _matches(pattern: str, name: str) -> bool:
    """Follow all ways through a name at once; a regular expression tries one after the other, which may take hours."""
    text, *rest = _STARS.split(pattern)
    places = [len(text)] if name.startswith(text) else []
    for star, text in zip(rest[::2], rest[1::2], strict=True):
        ends = _ends(places, name, across=star == "**")
        places = [end + len(text) for end in ends if name.startswith(text, end)]
    return bool(places) and places[-1] == len(name)


def _ends(starts: list[int], name: str, *, across: bool) -> list[int]:
    """Return where a star can end that begins at one of the starts; both are in ascending order."""
    ends: list[int] = []
    free = 0
    for start in starts:
        slash = -1 if across else name.find("/", start)
        last = len(name) if slash < 0 else slash
        ends.extend(range(max(start, free), last + 1))
        free = max(free, last + 1)
    return ends
