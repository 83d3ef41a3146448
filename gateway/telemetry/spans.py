"""Spans by OpenTelemetry. The one module that imports it: it comes with the extra ``slipway[traces]``."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Self

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import Span

    from gateway.model.trace import TraceParent
    from gateway.ports.observing import Exchange

_SERVER_ERROR = 500


class OpenSpans:
    """Makes spans; implements ports.observing.Spans. Where there is no request, there are no spans."""

    def __init__(self, processor: SpanProcessor) -> None:
        """Hand spans that have ended to a processor. Resource, sampler and limits are those of the environment."""
        ours = Resource({SERVICE_NAME: "slipway", SERVICE_VERSION: version("slipway")})
        self._provider = TracerProvider(resource=ours.merge(OTELResourceDetector().detect()))
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("slipway")

    @classmethod
    def sending(cls) -> Self:
        """Send spans by OTLP over HTTP, from a thread of its own, to where the environment says."""
        return cls(BatchSpanProcessor(OTLPSpanExporter()))

    async def aclose(self) -> None:
        """Send what is left."""
        await asyncio.to_thread(self._provider.shutdown)

    @contextmanager
    def request(self, exchange: Exchange, parent: TraceParent | None) -> Iterator[None]:
        """See the port."""
        with self._tracer.start_as_current_span(
            exchange.method,
            context=_context_of(parent),
            kind=SpanKind.SERVER,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            exchange.trace_id = f"{span.get_span_context().trace_id:032x}"
            try:
                yield
            finally:
                _describe(span, exchange)

    @contextmanager
    def call(self, name: str, system: str) -> Iterator[None]:
        """See the port."""
        if not trace.get_current_span().is_recording():
            yield
            return
        with self._tracer.start_as_current_span(
            name, kind=SpanKind.CLIENT, attributes=_of(system, name), record_exception=False
        ) as span:
            try:
                yield
            except BaseException as error:
                _fail(span, error)
                raise

    def ended(self, name: str, system: str, seconds: float, error: BaseException | None) -> None:
        """See the port."""
        if not trace.get_current_span().is_recording():
            return
        now = time.time_ns()
        begun = now - int(seconds * 1e9)
        span = self._tracer.start_span(name, kind=SpanKind.CLIENT, attributes=_of(system, name), start_time=begun)
        if error is not None:
            _fail(span, error)
        span.end(now)


def _context_of(parent: TraceParent | None) -> Context:
    """Return the context of a caller's span; an empty one begins a trace."""
    context = Context()
    if parent is None:
        return context
    flags = TraceFlags(TraceFlags.SAMPLED if parent.is_sampled else TraceFlags.DEFAULT)
    theirs = SpanContext(int(parent.trace_id, 16), int(parent.span_id, 16), is_remote=True, trace_flags=flags)
    return trace.set_span_in_context(NonRecordingSpan(theirs), context)


def _describe(span: Span, exchange: Exchange) -> None:
    span.update_name(f"{exchange.method} {exchange.route}")
    span.set_attributes(
        {
            "http.request.method": exchange.method,
            "http.route": exchange.route,
            "http.response.status_code": exchange.status,
            "url.path": exchange.path,
            "client.address": str(exchange.client or ""),
            "http.request.body.size": exchange.received,
            "http.response.body.size": exchange.sent,
            "slipway.request_id": exchange.request_id,
            "slipway.registry": exchange.registry,
            "slipway.repository": exchange.repository,
            "slipway.digest": exchange.digest,
        }
    )
    if exchange.status >= _SERVER_ERROR or not exchange.status:
        span.set_status(Status(StatusCode.ERROR))


def _of(system: str, name: str) -> dict[str, str]:
    if system == "s3":
        return {"rpc.system": "aws-api", "rpc.service": "S3", "rpc.method": name}
    return {"db.system.name": system, "db.operation.name": name}


def _fail(span: Span, error: BaseException) -> None:
    """Mark a span by the error's type alone: what an error says may name hosts and keys."""
    span.set_attribute("error.type", type(error).__name__)
    span.set_status(Status(StatusCode.ERROR))
