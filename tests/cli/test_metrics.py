"""Metrics of a whole service: of all workers together, whatever happens to one of them."""

from __future__ import annotations

import hashlib
import os
import re
import signal
from typing import TYPE_CHECKING
from urllib.request import urlopen

from cli.registry import Registry, eventually, run, serving
from support.ports import free_port

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = os.urandom(400_000)
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
UPLOADS = "/v2/some/repository/blobs/uploads/"
BLOB = f"/v2/some/repository/blobs/{DIGEST}"


def scrape(port: int) -> dict[str, float]:
    with urlopen(f"http://127.0.0.1:{port}/metrics") as page:
        assert page.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        lines = page.read().decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines) if name[:1] != "#"}


def use(registry: Registry) -> None:
    """Push and pull by each worker."""
    for worker in registry.workers():
        created = registry.by_another_than(
            worker, "POST", f"/v2/some/repository/blobs/uploads/?digest={DIGEST}", CONTENT
        )
        assert created.status == 201
        assert registry.by_another_than(worker, "GET", BLOB).body == CONTENT


def test_totals_do_not_go_back_when_a_worker_dies(data_dir: Path) -> None:
    """What a killed worker counted stays, and its successor goes on."""
    port = free_port()
    with serving(data_dir, "--workers", "2", SLIPWAY_METRICS_LISTEN=f"127.0.0.1:{port}") as registry:
        use(registry)
        before = scrape(port)
        assert before['slipway_bodies_received_total{way="direct"}'] == 2
        assert before['slipway_contents_sent_total{way="sendfile"}'] == 2
        assert before['slipway_self_tests_failed_total{way="splice"}'] == 0

        victim = min(registry.workers())
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: len(registry.workers() - {victim}) == 2, "a successor")
        use(registry)

        # A request is counted when it is over, which its client may know first.
        pulled = 'slipway_requests_total{method="GET",route="blob",status="200"}'
        eventually(lambda: scrape(port).get(pulled) == 4, "four pulls")
        after = scrape(port)
        assert after['slipway_contents_sent_total{way="sendfile"}'] == 4
        assert after['slipway_requests_total{method="POST",route="uploads",status="201"}'] == 4
        counts = {name: value for name, value in before.items() if re.search(r"_(total|count|sum|bucket)\b", name)}
        assert [name for name, value in counts.items() if after[name] < value] == []
        assert after["slipway_worker_starts_total"] == 3
        eventually(lambda: scrape(port)["slipway_workers"] == 2, "a sample of the successor")


def test_health_is_told_beside_them(data_dir: Path) -> None:
    """Where only the inside network can ask."""
    port = free_port()
    with serving(data_dir, "--workers", "1", SLIPWAY_METRICS_LISTEN=f"127.0.0.1:{port}"):
        for path in ("healthz", "readyz"):
            with urlopen(f"http://127.0.0.1:{port}/{path}") as answer:
                assert answer.status == 200
        # Neither is counted.
        assert not [name for name in scrape(port) if name.startswith("slipway_requests_total")]


def test_a_port_in_use_is_one_line(data_dir: Path) -> None:
    """As with the registry's own port."""
    with serving(data_dir, "--workers", "1") as registry:
        taken = f"127.0.0.1:{registry.port}"
        done = run("serve", "--open", "--listen", "127.0.0.1:0", SLIPWAY_METRICS_LISTEN=taken)

    assert done.returncode == 2
    assert f"cannot listen on {taken}: another program uses this port" in done.stderr
