"""Patterns of repository names: ``*`` stands for anything within one component, ``**`` also for slashes."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_PATTERN = re.compile(r"[a-z0-9._*/-]{1,255}", re.ASCII)
_STARS = re.compile(r"(\*\*|\*)")


def check_pattern(text: str) -> str:
    """Return a pattern if it is one; raises ValueError."""
    if not _PATTERN.fullmatch(text) or "***" in text or text.startswith("/") or text.endswith("/") or "//" in text:
        raise ValueError(
            f"{text!r} is no pattern of repositories: write a name in which * stands for anything within one "
            "component and ** also for slashes, for instance team/* or ci/**"
        )
    return text


def matches_any(patterns: Iterable[str], repository: str) -> bool:
    """Whether a repository's name fits one of the patterns."""
    return any(_compiled(pattern).fullmatch(repository) for pattern in patterns)


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    pieces = {"*": "[^/]*", "**": ".*"}
    return re.compile("".join(pieces.get(part) or re.escape(part) for part in _STARS.split(pattern)))
