"""When traces are made, and what is said when they cannot be."""

from __future__ import annotations

import sys

import pytest

from gateway.errors import ConfigurationError
from gateway.telemetry.tracing import are_traces_wanted, opened_spans

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "registry"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        (ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"}, False),
        (ENDPOINT | {"OTEL_SDK_DISABLED": "TRUE"}, False),
        (ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, True),
    ],
)
def test_who_asks_for_traces_gets_them(environment: dict[str, str], *, wanted: bool) -> None:
    """By the usual variables, and by nothing else."""
    assert are_traces_wanted(environment) is wanted


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER is 'zipkin': Slipway sends traces by otlp, or none"),
        (ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL is 'grpc': Slipway sends"),
        (ENDPOINT | {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL is 'grpc'"),
    ],
)
def test_what_cannot_be_had_is_said(environment: dict[str, str], sentence: str) -> None:
    """In one sentence that names the variable."""
    with pytest.raises(ConfigurationError, match=sentence):
        are_traces_wanted(environment)


@pytest.mark.parametrize("missing", ["opentelemetry", "opentelemetry.sdk", "opentelemetry.exporter"])
def test_the_extra_may_be_missing(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the sentence says what to install, and who has not asked does not hear of it."""
    for name in [name for name in sys.modules if name.startswith(missing)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)

    with pytest.raises(ConfigurationError) as raised:
        are_traces_wanted(ENDPOINT)
    assert str(raised.value) == (
        "OTEL_EXPORTER_OTLP_ENDPOINT asks for traces, but OpenTelemetry is not installed: "
        "install slipway[traces], or unset it"
    )
    assert not are_traces_wanted({})


async def test_nothing_is_imported_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without traces there is no OpenTelemetry in the process."""
    for name in [name for name in sys.modules if name.startswith(("opentelemetry", "gateway.telemetry.spans"))]:
        monkeypatch.delitem(sys.modules, name)

    async with opened_spans({}) as spans:
        assert spans is None

    assert not [name for name in sys.modules if name.startswith("opentelemetry")]
