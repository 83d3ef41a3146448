"""How often which way was taken: one number for each, counted where it happens and read by telemetry."""

from __future__ import annotations

from array import array
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Way(IntEnum):
    """What is counted."""

    RECEIVED_DIRECTLY = 0
    RECEIVED_BY_PARSER = 1
    SENT_BY_SENDFILE = 2
    SENT_BY_SPLICE = 3
    SENT_BY_COPY = 4
    RECEIVING_FAILED = 5
    SENDFILE_FAILED = 6
    SPLICE_FAILED = 7


def _nothing() -> memoryview[float]:
    return memoryview(array("d", [0.0] * len(Way)))


_counts = _nothing()


def count(way: Way) -> None:
    """Count one."""
    _counts[way] += 1


def counted(way: Way) -> int:
    """Return how often."""
    return int(_counts[way])


def count_in(memory: memoryview[float]) -> None:
    """Count in this memory from now on, one word for each way, which others may read."""
    global _counts  # noqa: PLW0603  (one set of sockets in a process, one place to count)
    _counts = memory


@contextmanager
def not_counting() -> Iterator[None]:
    """Count nothing, as long as a self-test plays client and server."""
    kept = _counts
    count_in(_nothing())
    try:
        yield
    finally:
        count_in(kept)
