"""The command in this process, by both ways to the management API."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from admin.memory import ROOT, SECRET, Memory
from cli.managing import Slipway, serving
from gateway.admin.dispatch import Management
from gateway.app import commands
from support.folders import open_folder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from gateway.config import Settings


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A data directory that is yet to be made."""
    with open_folder() as folder:
        yield folder / "data"


@pytest.fixture
def memory() -> Memory:
    """Registries team and other, and the root account."""
    return Memory()


@pytest.fixture
def url(memory: Memory) -> Iterator[str]:
    """Address of a server."""
    with serving(memory) as address:
        yield address


@pytest.fixture(params=["local", "remote"])
def slipway(
    request: pytest.FixtureRequest,
    memory: Memory,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Slipway:
    """The command, by either way to the same services."""
    if request.param == "remote":
        monkeypatch.setenv("SLIPWAY_URL", request.getfixturevalue("url"))
        monkeypatch.setenv("SLIPWAY_ACCESS_KEY_ID", ROOT)
        monkeypatch.setenv("SLIPWAY_SECRET_KEY", SECRET)
    else:

        @asynccontextmanager
        async def managing(_: Settings, *_more: object, **_named: object) -> AsyncIterator[Management]:
            yield Management(memory.services)

        monkeypatch.setattr(commands, "managing", managing)
    return Slipway(memory, capsys, monkeypatch)


@pytest.fixture
def away(memory: Memory, url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Slipway:
    """The command on a machine that has no access key."""
    monkeypatch.setenv("SLIPWAY_URL", url)
    return Slipway(memory, capsys, monkeypatch)
