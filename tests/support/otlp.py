"""A collector of traces on the loopback: real OTLP over HTTP, as any collector takes it."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Received:
    """A span that has arrived."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    seconds: float
    is_error: bool
    attributes: dict[str, str | int]
    resource: dict[str, str | int]


class Collector:
    """What has arrived."""

    def __init__(self) -> None:
        self.spans: list[Received] = []
        self.url = ""
        self._arrived = threading.Condition()

    def named(self, name: str) -> list[Received]:
        """Return the spans of a name."""
        return [span for span in self.spans if span.name == name]

    def children(self, parent: Received) -> list[Received]:
        """Return the spans right below one."""
        return [span for span in self.spans if (span.trace_id, span.parent_id) == (parent.trace_id, parent.span_id)]

    def wait_for(self, name: str, count: int = 1) -> list[Received]:
        """Wait until so many spans of a name have arrived, and return all that have."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.named(name)) >= count, 20), f"no span {name} has arrived"
            return self.named(name)

    def take(self, body: bytes) -> None:
        """Take a batch."""
        request = ExportTraceServiceRequest.FromString(body)
        with self._arrived:
            for each in request.resource_spans:
                resource = _values(each.resource.attributes)
                for span in (span for scope in each.scope_spans for span in scope.spans):
                    self.spans.append(
                        Received(
                            span.name,
                            span.trace_id.hex(),
                            span.span_id.hex(),
                            span.parent_span_id.hex(),
                            (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
                            span.status.code == span.status.STATUS_CODE_ERROR,
                            _values(span.attributes),
                            resource,
                        )
                    )
            self._arrived.notify_all()


def _values(attributes: Any) -> dict[str, str | int]:
    return {each.key: each.value.string_value or each.value.int_value for each in attributes}


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run a collector."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path == "/v1/traces"
            collector.take(body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()
