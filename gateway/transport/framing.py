"""How a body is framed: by its length, or in chunks, which are taken apart in the memory they were received into."""

from __future__ import annotations

import re
from typing import Protocol

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED = rb'"(?:[\t !#-\[\]-~]|\\[\t -~])*"'
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;%b(?:=(?:%b|%b))?)*" % (_TOKEN, _TOKEN, _QUOTED))
_TRAILER = re.compile(rb"(%b):[\t -~\x80-\xff]*" % _TOKEN)
_BEGINNING = (
    re.compile(rb"(?:[0-9A-Fa-f]{1,15}(?:;[\t -~]*)?\r?)?"),
    re.compile(rb"(?:\r|%b(?::[\t -~\x80-\xff]*\r?)?)?" % _TOKEN),
)
"""What has come of a size line, and of a trailer: what cannot become one is refused without waiting for its end."""
_NEVER_TRAILERS = frozenset({b"content-length", b"transfer-encoding", b"host"})
_LONGEST_LINE = 8 * 1024
_MOST_EXTRA = 64 * 1024
"""Bytes of extensions and trailers in one body: both are allowed, and nobody needs them."""
_PLAIN_LINE = 24
"""Bytes that surely hold the end of a chunk and the size line of the next, if it has no extensions."""
_ANY_ROOM = 1 << 30
_MOST_LINES = 2048
"""Lines that are read at once, which takes 4 ms."""
_TINY_CHUNKS, _TINY_CHUNK, _ROOM_FOR_TINY_CHUNKS = 64, 512, 8 * 1024
"""When so many chunks come that are so small, only so many bytes are received at once."""


class BrokenFramingError(Exception):
    """The body cannot be told apart from what follows it."""


class Framing(Protocol):
    """Tells the bytes of a body from its frame."""

    done: bool
    """Whether the body has ended."""
    excess: bytes
    """What was received behind the end of the body, or, before that, what is to be decoded next time."""

    def room(self, size: int) -> int:
        """Return how many of ``size`` bytes may be received without taking what is not ours."""
        ...

    def decode(self, buffer: memoryview, count: int) -> int:
        """Reduce the first ``count`` bytes of a buffer to bytes of the body; return how many there are."""
        ...


class LengthFraming:
    """A body of known length."""

    excess = b""

    def __init__(self, length: int) -> None:
        self._left = length
        self.done = not length

    def room(self, size: int) -> int:
        """See Framing."""
        return min(size, self._left)

    def decode(self, buffer: memoryview, count: int) -> int:
        """See Framing."""
        del buffer
        self._left -= count
        self.done = not self._left
        return count


class ChunkedFraming:
    """A body in chunks (RFC 9112, section 7.1); whatever could be read in two ways is refused."""

    def __init__(self) -> None:
        self.done = False
        self.excess = b""
        # Bytes of the running chunk that have not come yet.
        self._need = 0
        # What has come of a line; behind a chunk its end and the next size line are read as one.
        self._line = b""
        self._after_chunk = False
        self._in_trailers = False
        # What stood last between two chunks, and the size that it told: most bodies repeat it.
        self._usual = b""
        self._usual_size = 0
        self._extra = 0
        self._room = _ANY_ROOM

    def room(self, size: int) -> int:
        """See Framing; while chunks are tiny it is less, because each of them takes its time."""
        return min(size, self._room)

    def decode(self, buffer: memoryview, count: int) -> int:
        """See Framing."""
        done = place = lines = 0
        while place < count and not self.done and lines < _MOST_LINES:
            if self._need:
                length = min(self._need, count - place)
                if place != done:
                    buffer[done : done + length] = buffer[place : place + length]
                self._need -= length
                done += length
                place += length
            else:
                place = self._read_line(buffer, place, count)
                lines += 1
        self.excess = bytes(buffer[place:count])
        self._room = _ROOM_FOR_TINY_CHUNKS if lines > _TINY_CHUNKS and count < lines * _TINY_CHUNK else _ANY_ROOM
        return done

    def _read_line(self, buffer: memoryview, start: int, count: int) -> int:
        """Take over a line, or what has come of it, and return the place behind it."""
        begun = self._line
        usual = self._usual
        if usual and not begun and self._after_chunk and buffer[start : min(count, start + len(usual))] == usual:
            self._need = self._usual_size
            return start + len(usual)
        skip = 2 if self._after_chunk else 0
        for most in (_PLAIN_LINE, _LONGEST_LINE):
            text = begun + bytes(buffer[start : min(count, start + most)])
            end = text.find(b"\r\n", skip)
            if end >= 0 or start + most >= count:
                break
        _demand(b"\r\n".startswith(text[:skip]), "a chunk is not followed by the end of a line")
        if end < 0:
            _demand(len(text) <= _LONGEST_LINE, "a line is too long")
            _demand(bool(_BEGINNING[self._in_trailers].fullmatch(text, skip)), "this cannot become a line")
            self._line = text
            return start + len(text) - len(begun)
        self._line = b""
        self._after_chunk = False
        self._take_line(text[skip:end])
        plain = skip and self._need and end + 2 <= _PLAIN_LINE
        self._usual, self._usual_size = (text[: end + 2], self._need) if plain else (b"", 0)
        return start + end + 2 - len(begun)

    def _take_line(self, line: bytes) -> None:
        if self._in_trailers:
            self._take_trailer(line)
            return
        match = _SIZE_LINE.fullmatch(line)
        if match is None:
            raise BrokenFramingError("this is not the size of a chunk")
        self._need = int(match[1], 16)
        self._after_chunk = self._need > 0
        self._in_trailers = not self._need
        self._count_extra(len(line) - len(match[1]))

    def _take_trailer(self, line: bytes) -> None:
        """Pass over a trailer; an empty line ends the body."""
        self.done = not line
        if line:
            match = _TRAILER.fullmatch(line)
            _demand(match is not None and match[1].lower() not in _NEVER_TRAILERS, "this is not a trailer")
            self._count_extra(len(line))

    def _count_extra(self, count: int) -> None:
        self._extra += count
        _demand(self._extra <= _MOST_EXTRA, "there are too many chunk extensions and trailers")


def _demand(condition: bool, otherwise: str) -> None:  # noqa: FBT001
    if not condition:
        raise BrokenFramingError(otherwise)
