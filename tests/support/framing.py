"""Bodies in chunks that arrive in pieces."""

from __future__ import annotations

from gateway.transport.framing import ChunkedFraming


def decoded(body: bytes, cuts: list[int]) -> tuple[bytes, bytes, bool]:
    """Decode a body that arrives in pieces; return content, what lies behind it, and whether it has ended."""
    framing = ChunkedFraming()
    content, place, turn = bytearray(), 0, 0
    while place < len(body) and not framing.done:
        piece = bytearray(body[place : place + framing.room(cuts[turn % len(cuts)])])
        count = framing.decode(memoryview(piece), len(piece))
        content += piece[:count]
        place += len(piece) - len(framing.excess)
        turn += 1
    return bytes(content), body[place:], framing.done
