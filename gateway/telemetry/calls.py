"""Calls to the storage: counted by what came of them, and timed."""

from __future__ import annotations

from asyncio import CancelledError
from contextlib import contextmanager, nullcontext
from time import perf_counter
from typing import TYPE_CHECKING

from gateway.errors import MultipartLost, ObjectMissing, StorageUnavailable
from gateway.telemetry.declared import S3_CALLS, S3_OPERATIONS, S3_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.ports.observing import Spans
    from gateway.telemetry.metrics import Metrics


class StorageCalls:
    """Measures calls, each from its first attempt to what its caller gets; is a ports.observing.Measure."""

    def __init__(self, metrics: Metrics, spans: Spans | None) -> None:
        self._metrics = metrics
        self._spans = spans

    @contextmanager
    def __call__(self, operation: str) -> Iterator[None]:
        """Measure the call that is made within the context."""
        name = operation if operation in S3_OPERATIONS else "other"
        started = perf_counter()
        outcome = "ok"
        try:
            with self._spans.call(operation, "s3") if self._spans else nullcontext():
                yield
        except BaseException as error:
            outcome = _outcome(error)
            raise
        finally:
            self._metrics.count(S3_CALLS.name, name, outcome)
            self._metrics.observe(S3_SECONDS.name, name, value=perf_counter() - started)


def _outcome(error: BaseException) -> str:
    match error:
        case ObjectMissing() | MultipartLost():
            return "missing"
        case StorageUnavailable():
            return "unavailable"
        case CancelledError() | GeneratorExit():
            return "cancelled"
        case _:
            return "refused"
