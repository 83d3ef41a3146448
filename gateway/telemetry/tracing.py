"""Traces: whether they are wanted, by OpenTelemetry's own variables, and whether they can be had."""

from __future__ import annotations

from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from gateway.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from gateway.ports.observing import Spans

_ADDRESSES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
_PROTOCOL = "http/protobuf"
_NEEDED = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter")


def are_traces_wanted(environment: Mapping[str, str]) -> bool:
    """Tell whether OpenTelemetry's variables ask for traces; raise ConfigurationError when they cannot be had."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = environment.get("OTEL_TRACES_EXPORTER", "")
    if exporter not in {"", "otlp", "none"}:
        raise ConfigurationError(f"OTEL_TRACES_EXPORTER is {exporter!r}: Slipway sends traces by otlp, or none")
    reason = next((name for name in _ADDRESSES if environment.get(name)), "OTEL_TRACES_EXPORTER" if exporter else "")
    if exporter == "none" or not reason:
        return False
    for name in _PROTOCOLS:
        if environment.get(name, _PROTOCOL) not in {"", _PROTOCOL}:
            raise ConfigurationError(
                f"{name} is {environment[name]!r}: Slipway sends traces by {_PROTOCOL}, usually to port 4318"
            )
    if not all(map(_is_there, _NEEDED)):
        raise ConfigurationError(
            f"{reason} asks for traces, but OpenTelemetry is not installed: install slipway[traces], or unset it"
        )
    return True


@asynccontextmanager
async def opened_spans(environment: Mapping[str, str]) -> AsyncIterator[Spans | None]:
    """Make what traces, and send what it has gathered in the end; None where no traces are wanted."""
    if not are_traces_wanted(environment):
        yield None
        return
    # OpenTelemetry costs memory and time to start, which nobody pays who has no traces.
    from gateway.telemetry.spans import OpenSpans  # noqa: PLC0415

    spans = OpenSpans.sending()
    try:
        yield spans
    finally:
        await spans.aclose()


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
