"""Content of blobs: cheap to make, impossible to compress, different each time, and known to the last byte."""

from __future__ import annotations

import hashlib
import os
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MIB = 1 << 20
GIB = 1 << 30
BLOCK = 256 * 1024  # small enough for two of them to stay in a core's own cache
DOCKER_CHUNK = 32 * 1024  # what Go's io.Copy hands to a chunked body at once

_NOISE = os.urandom(BLOCK)


class Content:
    """Random blocks, each beginning with a random number of the content and the block's index."""

    def __init__(self, size: int) -> None:
        """Make content of ``size`` bytes, at least 16."""
        self.size = size
        self._stamp = secrets.token_bytes(8)
        self._digest: str | None = None

    @property
    def digest(self) -> str:
        """The content's sha256 digest; computed once, 0.6 CPU seconds per GiB."""
        if self._digest is None:
            value = hashlib.sha256()
            for block in self.blocks():
                value.update(block)
            self._digest = f"sha256:{value.hexdigest()}"
        return self._digest

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[bytearray | memoryview]:
        """Yield the bytes of a range, whose start is a multiple of the block; each block is valid until the next."""
        stop = self.size if stop is None else stop
        block = bytearray(_NOISE)
        for offset in range(start, stop, BLOCK):
            self._write_stamp(block, 0, offset)
            yield block if stop - offset >= BLOCK else memoryview(block)[: stop - offset]

    def chunks(self) -> Iterator[bytes | bytearray]:
        """Yield the content in chunked framing, as docker sends it, one block of chunks at a time."""
        framed = _framed(_NOISE)
        first = len(f"{DOCKER_CHUNK:x}\r\n")
        for offset, block in zip(range(0, self.size, BLOCK), self.blocks(), strict=True):
            if len(block) == BLOCK:
                self._write_stamp(framed, first, offset)
                yield framed
            else:
                yield _framed(block)
        yield b"0\r\n\r\n"

    def check(self, receive_into: Callable[[memoryview], None]) -> None:
        """Take all bytes from a source that fills buffers, and compare every one of them."""
        buffer = bytearray(BLOCK)
        view = memoryview(buffer)
        for block in self.blocks():
            length = len(block)
            receive_into(view[:length])
            # Two bytearrays are compared by memcmp, which is several times as fast as a hash.
            if buffer != block if length == BLOCK else bytes(view[:length]) != bytes(block):
                raise ValueError("other bytes came back than were pushed")

    def _write_stamp(self, target: bytearray, position: int, offset: int) -> None:
        target[position : position + 8] = self._stamp
        target[position + 8 : position + 16] = offset.to_bytes(8)


def _framed(data: bytes | bytearray | memoryview) -> bytearray:
    framed = bytearray()
    for start in range(0, len(data), DOCKER_CHUNK):
        piece = data[start : start + DOCKER_CHUNK]
        framed += f"{len(piece):x}\r\n".encode()
        framed += piece
        framed += b"\r\n"
    return framed
