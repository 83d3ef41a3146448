"""Bodies from the socket straight into the memory where they are wanted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.errors import BodyCut
from gateway.transport.framing import BrokenFramingError
from gateway.transport.inlet import Inlet
from gateway.transport.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.errors import ServiceEnding
    from gateway.transport.framing import Framing

_LARGEST_READ = 1024 * 1024
"""Each read costs 40 us of turns through the event loop; four times as many of a quarter cost a fifth more CPU."""
_DISCARDED_AT_ONCE = 64 * 1024
_SECONDS_BETWEEN_LOOKS = 5.0


class BodyReceiver(asyncio.BufferedProtocol):
    """Takes a connection over from its HTTP protocol for the rest of one body; implements ports.storage.BodySource.

    It reads only while ``receive_into`` waits, into the buffer given there. ``ended`` is called with what was
    received behind the body, or with the reason why its end will never be known; everything else that happens to the
    connection goes to the protocol.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        protocol: asyncio.Protocol,
        framing: Framing,
        received: bytes,
        ended: Callable[[bytes, BrokenFramingError | None], None],
    ) -> None:
        self._transport = transport
        self._protocol = protocol
        self._framing = framing
        self._rest = memoryview(received)
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._target: memoryview | None = None
        self._filled = 0
        self._waiter: asyncio.Future[None] | None = None
        self._waiting_since = 0.0
        self._pace = Pace()
        self._discarding = False
        self._failure: BodyCut | None = None
        self._interruption: ServiceEnding | None = None
        self._given_back = False
        self._broken: BrokenFramingError | None = None
        self._inlet = Inlet(transport)
        self._timer = self._loop.call_later(_SECONDS_BETWEEN_LOOKS, self._look)
        transport.pause_reading()
        transport.set_protocol(self)
        if framing.done:
            self._end(None)

    async def receive_into(self, buffer: memoryview) -> int:
        """See the port."""
        self._settle()
        count = 0
        while not count and not self._framing.done:
            # Others get their turn, even if nothing has to be waited for.
            await asyncio.sleep(0)
            received = self._take_rest(buffer) if self._rest else await self._receive(buffer)
            count = self._decode(buffer, received)
            self._settle()
        return count

    def receive_now(self, buffer: memoryview) -> int:
        """See the port; what is to become of the connection is settled later, in the event loop."""
        is_over = self._framing.done or self._broken is not None
        if self._rest or is_over or self._failure is not None or self._interruption is not None:
            return 0
        return self._decode(buffer, self._receive_now(buffer))

    def interrupt(self, error: ServiceEnding) -> None:
        """Raise an error in whoever waits for the body, or will; what has been received so far is his."""
        self._interruption = error
        if self._waiter is not None and not self._waiter.done():
            self._pause()
            self._waiter.set_exception(error)

    def discard(self) -> None:
        """Receive the rest of the body, and drop it: nobody wants it, but the client may have to send it."""
        if self._given_back or self._failure is not None:
            return
        self._discarding = True
        self._timer.cancel()
        self._target = memoryview(bytearray(_DISCARDED_AT_ONCE))
        if self._discard_rest(self._target) and not self._framing.done:
            self._transport.resume_reading()

    def _discard_rest(self, scratch: memoryview) -> bool:
        """Drop what was received already; return whether the body is well-formed so far."""
        try:
            self._settle()
            while self._rest and not self._framing.done:
                self._decode(scratch, self._take_rest(scratch))
                self._settle()
        except BodyCut:
            return False
        return True

    def _take_rest(self, buffer: memoryview) -> int:
        count = self._framing.room(min(len(self._rest), len(buffer), _LARGEST_READ))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    async def _receive(self, buffer: memoryview) -> int:
        """Wait for bytes, whatever their number."""
        if self._failure is not None:
            raise self._failure
        if self._interruption is not None:
            raise self._interruption
        if not buffer:
            raise ValueError("a body cannot be received into no memory")
        if received := self._receive_now(buffer):
            return received
        self._target = self._space(buffer)
        self._filled = 0
        self._waiter = self._loop.create_future()
        self._waiting_since = self._loop.time()
        try:
            self._transport.resume_reading()
            await self._waiter
        except asyncio.CancelledError:
            # What has come all the same is of the body still, and the next request begins behind it.
            self._rest = memoryview(bytes(self._target[: self._filled]))
            raise
        finally:
            if not self._waiter.done() or self._waiter.cancelled():
                self._pause()
            self._waiter = self._target = None
        self._pace.count(self._loop.time() - self._waiting_since, self._filled)
        return self._filled

    def _receive_now(self, buffer: memoryview) -> int:
        received = self._inlet.receive(self._space(buffer))
        self._pace.count(0.0, received)
        return received

    def _space(self, buffer: memoryview) -> memoryview:
        return buffer[: self._framing.room(min(len(buffer), _LARGEST_READ))]

    def _decode(self, buffer: memoryview, received: int) -> int:
        """Reduce what was received to bytes of the body, and note whether more can follow."""
        try:
            count = self._framing.decode(buffer, received)
        except BrokenFramingError as error:
            self._broken = error
            return 0
        if self._framing.excess and not self._framing.done:
            self._rest = memoryview(self._framing.excess + bytes(self._rest))
        return count

    def _settle(self) -> None:
        """Give the connection back if nothing more of the body can follow; raise BodyCut if its framing is broken."""
        if self._given_back:
            return
        if self._broken is not None:
            self._failure = BodyCut("the body is not framed as HTTP asks for")
            self._end(self._broken)
            raise self._failure from self._broken
        if self._framing.done:
            self._end(None)

    def _end(self, error: BrokenFramingError | None) -> None:
        """Give the connection back."""
        self._given_back = True
        self._timer.cancel()
        self._inlet.close()
        if not self._transport.is_closing():
            self._transport.pause_reading()
            self._transport.set_protocol(self._protocol)
        self._ended(self._framing.excess + bytes(self._rest), error)

    def _fail(self, failure: BodyCut) -> None:
        if self._failure is None:
            self._failure = failure
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(self._failure)

    def _look(self) -> None:
        """Give a body up that comes too slowly."""
        self._timer = self._loop.call_later(_SECONDS_BETWEEN_LOOKS, self._look)
        waiting = self._loop.time() - self._waiting_since if self._waiter is not None else 0.0
        if complaint := self._pace.complaint(waiting):
            self._pause()
            self._fail(BodyCut(complaint))

    def _pause(self) -> None:
        if not self._transport.is_closing():
            self._transport.pause_reading()

    # --- called by the transport -----------------------------------------------------------------

    def get_buffer(self, sizehint: int) -> memoryview:
        """Lend the memory that ``receive_into`` was given."""
        del sizehint
        assert self._target is not None, "the transport reads although it was told to pause"
        return self._target[: self._framing.room(len(self._target))]

    def buffer_updated(self, nbytes: int) -> None:
        """Stop reading, and wake ``receive_into`` up."""
        if self._discarding:
            assert self._target is not None
            self._rest = self._target[:nbytes]
            self._discard_rest(memoryview(bytearray(_DISCARDED_AT_ONCE)))
        else:
            self._pause()
            self._filled = nbytes
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(None)

    def eof_received(self) -> bool:
        """Close the connection of a client that ends its side in the middle of a body."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell that the body was cut off."""
        self._timer.cancel()
        self._inlet.close()
        cause = exc if isinstance(exc, Exception) else None
        failure = BodyCut("the connection ended in the middle of the body")
        failure.__cause__ = cause
        self._fail(failure)
        self._protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        """Pass it on: an answer may be written while the body comes."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        self._protocol.resume_writing()
