"""Byte ranges of requests (RFC 9110, section 14) and of chunks (distribution specification, end-5)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gateway.errors import RangesInvalid, RangeUnsatisfiable

_MOST_RANGES = 1024
_BYTES = re.compile(r"bytes\s*=(.*)", re.IGNORECASE | re.ASCII)
_SPEC = re.compile(r"([0-9]{0,19})\s*-\s*([0-9]{0,19})", re.ASCII)
# Clients write "0-99"; "bytes 0-99/*" is what RFC 9110 calls a Content-Range, and some send it.
_CHUNK = re.compile(r"(?:bytes\s+)?([0-9]{1,19})-([0-9]{1,19})(?:/(?:[0-9]{1,19}|\*))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes ``start`` to ``stop`` of some content, ``stop`` not included."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """Number of bytes in the range."""
        return self.stop - self.start

    def content_range(self, size: int) -> str:
        """Write the range as a Content-Range of content with ``size`` bytes."""
        return f"bytes {self.start}-{self.stop - 1}/{size}"


def parse_ranges(header: str, size: int) -> list[ByteRange] | None:
    """Read a Range header against content of ``size`` bytes.

    Returns the ranges in the order asked for, never merged (zstd:chunked clients count them), or None
    where the header is to be ignored: another unit, garbage, or empty content.
    Raises RangeUnsatisfiable when no range has a byte, RangesInvalid when they are too many or too much.
    """
    match = _BYTES.fullmatch(header.strip())
    if match is None or size == 0:
        return None
    specs = [_SPEC.fullmatch(spec.strip()) for spec in match[1].split(",") if spec.strip()]
    if not specs or any(spec is None or spec[0].strip() == "-" for spec in specs):
        return None
    if len(specs) > _MOST_RANGES:
        raise RangesInvalid(f"a request may ask for at most {_MOST_RANGES} ranges")
    ranges = [found for spec in specs if spec and (found := _resolve(spec[1], spec[2], size))]
    if not ranges:
        raise RangeUnsatisfiable(size)
    if len(ranges) > 1 and sum(found.length for found in ranges) > size:
        raise RangesInvalid("the ranges together are larger than the content; ask for the whole of it")
    return ranges


def _resolve(first: str, last: str, size: int) -> ByteRange | None:
    """Find the bytes that one range stands for; None when it has none."""
    if not first:
        suffix = min(int(last), size)
        return ByteRange(size - suffix, size) if suffix else None
    start, stop = int(first), min(int(last) + 1, size) if last else size
    # "500-0" is invalid by RFC 9110 and would be ignored; the conformance suite asks for 416, as Go answers.
    return ByteRange(start, stop) if start < stop else None


def parse_chunk_range(header: str) -> ByteRange | None:
    """Read the Content-Range of a chunk; None when it cannot be read or ends before it starts."""
    match = _CHUNK.fullmatch(header.strip())
    if match is None or int(match[2]) < int(match[1]):
        return None
    return ByteRange(int(match[1]), int(match[2]) + 1)
