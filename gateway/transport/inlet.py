"""The client's socket itself, past the transport that owns it: what bodies are received from where nobody waits."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from gateway.transport.outlet import is_plain

if TYPE_CHECKING:
    import asyncio
    import socket


class Inlet:
    """A second descriptor of a client's socket; whoever has it sees to it that the transport does not read meanwhile.

    It may be read from in a thread while the event loop closes it: a closed descriptor is never read from, since its
    number may be another client's by then.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._lock = threading.Lock()
        self._own: socket.socket | None = None
        if is_plain(transport):
            self._own = transport.get_extra_info("socket").dup()

    def receive(self, buffer: memoryview) -> int:
        """Receive what is there; 0 if nothing is, for whatever reason: the transport finds out which."""
        with self._lock:
            if self._own is None:
                return 0
            try:
                return self._own.recv_into(buffer)
            except OSError:
                return 0

    def close(self) -> None:
        """Close the descriptor; nothing is received any more."""
        with self._lock:
            if self._own is not None:
                self._own.close()
                self._own = None
