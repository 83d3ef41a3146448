"""How connections arrive at a listening socket: in plain, or by TLS."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Protocol

from aiohttp import web

from gateway.transport.proxy_protocol import LONGEST_PREAMBLE, Peer, PreambleWrong, parse_preamble
from gateway.transport.waiting import until_ready

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.transport.admission import Admission
    from gateway.transport.certificate import Certificate
    from gateway.transport.connection import Connection

    NewConnection = Callable[[Peer | None], Connection]

_log = logging.getLogger(__name__)

BACKLOG = 1024
_SECONDS_TO_ARRIVE = 30.0
"""How long a load balancer may take to say who connects, and the client to agree on TLS."""
_SECONDS_TO_RECOVER = 1.0
_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Arrivals(Protocol):
    """Accepts connections."""

    async def open(self) -> None:
        """Begin to accept."""

    async def close(self) -> None:
        """Accept what waits in the backlog, which the last close of the socket would reset, and nothing after it."""

    async def drop(self) -> None:
        """Give connections up that have not arrived yet."""

    @property
    def under_way(self) -> int:
        """How many connections were accepted and have not arrived yet."""
        ...


class PlainArrivals:
    """Leaves it to the event loop."""

    under_way = 0

    def __init__(self, listener: socket.socket, runner: web.ServerRunner, connection: NewConnection) -> None:
        self._listener = listener
        self._runner = runner
        self._connection = connection

    async def open(self) -> None:
        """See Arrivals."""
        # The site closes what it is given, and the socket is needed once more.
        self._site = web.SockSite(self._runner, self._listener.dup(), backlog=BACKLOG)
        await self._site.start()

    async def close(self) -> None:
        """See Arrivals."""
        await self._site.stop()
        self._listener.setblocking(False)
        loop = asyncio.get_running_loop()
        with suppress(BlockingIOError):
            while True:
                connection, _ = self._listener.accept()
                connection.setblocking(False)
                await loop.connect_accepted_socket(partial(self._connection, None), connection)
        self._listener.close()

    async def drop(self) -> None:
        """See Arrivals: there are none."""


class SecureArrivals:
    """Accepts connections that speak TLS, each with the certificate of the moment.

    A PROXY header comes before the first byte of TLS, so that it is read from the socket itself.
    """

    def __init__(
        self, listener: socket.socket, certificate: Certificate, admission: Admission, connection: NewConnection
    ) -> None:
        self._listener = listener
        self._certificate = certificate
        self._admission = admission
        self._connection = connection
        self._tasks: set[asyncio.Task[None]] = set()
        self._stack = AsyncExitStack()
        self._is_open = False

    @property
    def under_way(self) -> int:
        """See Arrivals."""
        return len(self._tasks)

    async def open(self) -> None:
        """See Arrivals."""
        await self._stack.enter_async_context(self._certificate.watched())
        self._is_open = True
        self._watch()

    async def close(self) -> None:
        """See Arrivals."""
        self._is_open = False
        asyncio.get_running_loop().remove_reader(self._listener)
        self._accept()
        self._listener.close()
        await self._stack.aclose()

    async def drop(self) -> None:
        """See Arrivals."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _watch(self) -> None:
        if self._is_open:
            asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        """Accept all that waits; others may have been faster."""
        loop = asyncio.get_running_loop()
        for _ in range(BACKLOG):
            try:
                accepted, address = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    continue  # the client has left meanwhile
                _log.error("no connection can be accepted, tried again in a moment: %s", error.strerror)
                loop.remove_reader(self._listener)
                loop.call_later(_SECONDS_TO_RECOVER, self._watch)
                return
            accepted.setblocking(False)
            task = loop.create_task(self._arrive(accepted, str(address[0])))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _arrive(self, accepted: socket.socket, address: str) -> None:
        """Find out who connects, count the connection, and agree on TLS."""
        try:
            async with asyncio.timeout(_SECONDS_TO_ARRIVE):
                await self._secure(accepted, await self._peer(accepted, address))
        except (OSError, TimeoutError) as error:
            accepted.close()
            _log.debug("a connection from %s has not come about: %s", address, error)
        except PreambleWrong as error:
            accepted.close()
            _log.warning("a connection from %s is ended: %s", address, error)
        except asyncio.CancelledError:
            accepted.close()
            raise

    async def _secure(self, accepted: socket.socket, peer: Peer) -> None:
        connection = self._connection(peer)
        # Before the handshake, so that those who never finish one are counted as well.
        is_welcome = self._admission.admit(peer.address)
        try:
            if is_welcome:
                loop = asyncio.get_running_loop()
                await loop.connect_accepted_socket(lambda: connection, accepted, ssl=self._certificate.context)
        except BaseException:
            connection.give_up()
            raise
        if not is_welcome:
            connection.give_up()
            raise ConnectionRefusedError("this address has too many connections")

    async def _peer(self, accepted: socket.socket, address: str) -> Peer:
        if not self._admission.speaks_for_others(address):
            return Peer(address)
        while True:
            await until_ready(accepted.fileno(), writing=False, seconds=_SECONDS_TO_ARRIVE)
            begun = accepted.recv(LONGEST_PREAMBLE, socket.MSG_PEEK)
            if not begun:
                raise ConnectionResetError("the load balancer has left")
            found = parse_preamble(begun, address)
            if found is not None:
                peer, length = found
                accepted.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
                accepted.recv(length)
                return peer
            # Ready again only once there is more than this, which is only looked at and stays there.
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, len(begun) + 1)
