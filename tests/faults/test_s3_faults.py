"""S3 fails in all ways at once under a registry that is used: no wrong byte, nothing lost, nothing left behind.

What each failure of each call does is proven in tests/contract; here they come in any order, and through all of it.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from e2e.processes import eventually
from faults.clients import Clients
from faults.crashing import PART, mortal
from faults.installations import new_installation
from faults.steps import clean, look, needed
from faults.weather import weather

if TYPE_CHECKING:
    from pathlib import Path

    from support.databases import Server
    from support.seaweed import SeaweedFS

pytestmark = pytest.mark.timeout(7200)  # for a soak; whatever is waited for has a limit of its own
_FAULTS = 150
_IMAGES = 30


def test_in_all_weathers(embedded_server: Server, seaweed: SeaweedFS, tmp_path: Path, soak: float, seed: int) -> None:
    """Pushes and pulls succeed or fail cleanly, and in the end there is what was acknowledged and nothing else."""
    deadline = time.monotonic() + soak
    with (
        new_installation(embedded_server, tmp_path / "installation", seaweed) as installation,
        weather(seaweed.endpoint_url, seed) as now,
    ):
        settings = replace(installation.settings, s3_endpoint_url=now.url)
        with mortal(settings, read_timeout=1.0, call_timeout=8.0) as registry:
            clients = Clients(str(settings.listen), seed, largest=PART + 3000)
            with clients.busy():
                now.is_calm = False
                eventually(
                    lambda: (
                        not clients.are_well
                        or (now.faults >= _FAULTS and clients.images >= _IMAGES and time.monotonic() >= deadline)
                    ),
                    "pushes and pulls in bad weather",
                    seconds=240 + soak,
                )
                now.is_calm = True
                eventually(clients.works, "a push to go through")
            clients.check()
            clean(registry)
            for address, content in needed(clients.kept).items():
                assert look(registry.wire, address) == content, address
            registry.stop()
        assert clients.refused
        installation.check_remains()
