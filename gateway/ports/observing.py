"""What is told of the program's work, to logs, metrics and traces: who tells it does not know what becomes of it."""

from __future__ import annotations

from contextlib import nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from gateway.model.networks import IpAddress
    from gateway.model.trace import TraceParent

    Measure = Callable[[str], AbstractContextManager[None]]


@dataclass(slots=True)
class Exchange:
    """One request and what came of it; filled in while it is answered. Never holds anything secret."""

    request_id: str
    method: str
    path: str
    """As it was sent, without the query and without an origin, either of which may hold a password."""
    trace_id: str = ""
    started: float = field(default_factory=perf_counter)
    route: str = "none"
    client: IpAddress | None = None
    """The real client's address, None as long as it is not known."""
    access_key_id: str = ""
    registry: str = ""
    """Its name."""
    repository: str = ""
    digest: str = ""
    """Of the content that the request is about."""
    status: int = 0
    received: int = 0
    """Bytes of the request's body."""
    sent: int = 0
    """Bytes of the answer."""
    seconds: float = 0.0
    """Until the end of the answer."""
    first_byte: float | None = None
    """Seconds until the first byte of a content was at hand; None unless one was streamed."""

    def begins(self) -> None:
        """Note that the storage has opened the content, and the answer begins."""
        self.first_byte = perf_counter() - self.started


@dataclass(slots=True)
class Lookups:
    """How often something was found in memory, and how often not."""

    hits: int = 0
    misses: int = 0


CURRENT: ContextVar[Exchange | None] = ContextVar("exchange", default=None)
"""The request that this task works for."""


class Spans(Protocol):
    """Makes spans of a trace: of requests, and of the calls that are made for them.

    Calls that no request has asked for leave no span. ``system`` is s3 or postgresql.
    """

    def request(self, exchange: Exchange, parent: TraceParent | None) -> AbstractContextManager[None]:
        """Let a span last as long as the context, which fills the exchange in; its trace id is set at once.

        ``parent`` is the span that the request was sent from, None begins a trace.
        """
        ...

    def call(self, name: str, system: str) -> AbstractContextManager[None]:
        """Let a span of a call last as long as the context."""
        ...

    def ended(self, name: str, system: str, seconds: float, error: BaseException | None) -> None:
        """Make a span of a call that has just ended, after so many seconds."""
        ...


def unmeasured(_operation: str) -> AbstractContextManager[None]:
    """Let a call to the storage pass without measuring it."""
    return nullcontext()
