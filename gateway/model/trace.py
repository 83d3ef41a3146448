"""The header ``traceparent``: which trace a request belongs to (W3C Trace Context)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_SAMPLED = 1


@dataclass(frozen=True, slots=True)
class TraceParent:
    """A trace, and the span in it that a request was sent from, as hexadecimal digits."""

    trace_id: str
    span_id: str
    is_sampled: bool
    """Whether the sender keeps its part of the trace."""

    @classmethod
    def parse(cls, header: str) -> Self | None:
        """Read the header; None when it is not one, as the specification asks: then a new trace begins."""
        match = _FORM.fullmatch(header)
        if match is None or match[1] == "ff" or (match[1] == "00" and match[5]):
            return None
        if not int(match[2], 16) or not int(match[3], 16):
            return None
        return cls(match[2], match[3], bool(int(match[4], 16) & _SAMPLED))
