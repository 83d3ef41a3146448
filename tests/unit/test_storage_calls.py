"""Calls to the storage are counted by what came of them, and timed."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.errors import MultipartLost, ObjectDamaged, ObjectMissing, StorageFull, StorageUnavailable
from gateway.telemetry.calls import StorageCalls
from gateway.telemetry.metrics import Metrics, new_board


def counted(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Return the samples about calls, by their last word, operation and outcome."""
    return {
        (sample.name.rpartition("_")[2], sample.labels["operation"], sample.labels.get("outcome", "")): sample.value
        for family in text_string_to_metric_families(metrics.page().decode())
        for sample in family.samples
        if sample.name.startswith("slipway_s3") and not sample.name.endswith("_bucket")
    }


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "ok"),
        (ObjectMissing("gone"), "missing"),
        (MultipartLost("gone"), "missing"),
        (StorageUnavailable("away"), "unavailable"),
        (StorageFull("full"), "unavailable"),
        (ObjectDamaged("short"), "refused"),
        (RuntimeError("bug"), "refused"),
        (asyncio.CancelledError(), "cancelled"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_outcomes(error: BaseException | None, outcome: str) -> None:
    """The error that leaves the call says what came of it, and goes on."""
    metrics = Metrics(new_board(), 0)

    def call() -> None:
        with StorageCalls(metrics, None)("upload_part"):
            if error is not None:
                raise error

    if error is None:
        call()
    else:
        with pytest.raises(type(error)):
            call()

    found = counted(metrics)
    assert found["total", "upload_part", outcome] == 1
    assert found["count", "upload_part", ""] == 1
    assert 0 <= found["sum", "upload_part", ""] < 60
    assert len(found) == 3


def test_operations_are_few() -> None:
    """One that is not listed is another."""
    metrics = Metrics(new_board(), 0)
    with StorageCalls(metrics, None)("get_bucket_policy"):
        pass

    assert counted(metrics)["total", "other", "ok"] == 1
