"""What tests that break things at random share: for how long, and with which seed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator


@pytest.fixture
def soak(request: pytest.FixtureRequest) -> float:
    """Seconds for which a test may go on; 0 is as long as it needs to show what it shows."""
    return 60.0 * float(request.config.getoption("--soak"))


@pytest.fixture
def seed(request: pytest.FixtureRequest, soak: float) -> int:
    """What chance begins with: always the same, but for a soak."""
    chosen: int | None = request.config.getoption("--seed")
    if chosen is not None:
        return chosen
    return time.time_ns() % 2**32 if soak else 1


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the seed of a test that failed."""
    report = yield
    chosen = getattr(item, "funcargs", {}).get("seed")
    if report.failed and chosen is not None:
        report.sections.append(("seed", f"to see this again: --seed {chosen}"))
    return report
