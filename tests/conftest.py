"""Options of the whole suite, and the servers that several folders share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from support.databases import Server
from support.postgres import running_postgres
from support.seaweed import SeaweedFS, start_seaweedfs

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

# Machines are noisy: how long an example takes, or its making, proves nothing.
settings.register_profile("slipway", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("slipway")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", type=float, default=0.0, help="let each test of faults run for so many minutes")
    parser.addoption("--seed", type=int, help="the seed of what tests of faults break at random")
    parser.addoption("--strict-skips", action="store_true", help="a skipped test is a failure (as in CI)")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if item.config.getoption("--strict-skips") and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped, but nothing may be skipped here: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def embedded_server() -> Iterator[Server]:
    """The embedded Postgres."""
    with running_postgres() as dsn:
        yield Server(dsn)


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """A real S3 server without buckets."""
    server = start_seaweedfs(tmp_path_factory.mktemp("seaweed"))
    try:
        yield server
    finally:
        server.stop()
