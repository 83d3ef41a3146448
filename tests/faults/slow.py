"""A line to Postgres that is slow, or dead without saying so."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class SlowLine:
    """A proxy between a registry and the socket of a server."""

    socket: str
    url: str = ""
    """Address of the same database through the proxy."""
    delay: float = 0.0
    """Seconds that everything takes in each direction."""
    flowing: threading.Event = field(default_factory=threading.Event)
    """While it is not set, nothing comes through, and nobody is told."""

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection until an end closes it."""
        with suppress(OSError):
            inner_reader, inner_writer = await asyncio.open_unix_connection(self.socket)
            try:
                await asyncio.gather(self._pump(reader, inner_writer), self._pump(inner_reader, writer))
            finally:
                inner_writer.close()
        writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await asyncio.sleep(self.delay)
            while not self.flowing.is_set():  # noqa: ASYNC110 - set by another thread
                await asyncio.sleep(0.01)
            writer.write(data)
            await writer.drain()
        writer.close()


@contextmanager
def slow_line(dsn: str) -> Iterator[SlowLine]:
    """Run a proxy in a thread of its own, as long as the context lasts."""
    parts = urlsplit(dsn)
    (folder,) = parse_qs(parts.query)["host"]
    line = SlowLine(f"{folder}/.s.PGSQL.5432")
    line.flowing.set()
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(line.carry, "127.0.0.1", 0))
    port = server.sockets[0].getsockname()[1]
    line.url = parts._replace(netloc=f"{parts.netloc}127.0.0.1:{port}", query="").geturl()
    thread = threading.Thread(target=loop.run_forever, name="slow line")
    thread.start()
    try:
        yield line
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(_close(server))
        loop.close()


async def _close(server: asyncio.Server) -> None:
    server.close()
    carried = asyncio.all_tasks() - {asyncio.current_task()}
    for task in carried:
        task.cancel()
    await asyncio.gather(*carried, return_exceptions=True)
