"""The registries that are measured: Slipway from this checkout, docker-registry from Debian."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from secrets import token_hex
from typing import TYPE_CHECKING

from bench import ROOT
from bench.harness.login import Login
from bench.harness.processes import ProcessTree
from bench.harness.registry import Client
from gateway.cli.serve import serve
from support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from support.seaweed import SeaweedFS

BUCKET_OF_SLIPWAY = "slipway"
BUCKET_OF_PEER = "peer"
PEER = "docker-registry"

_START_SECONDS = 60.0
_STOP_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Subject:
    """A registry under measurement; without a tree nothing is known about its processes."""

    name: str
    url: str
    tree: ProcessTree | None
    login: Login | None = None
    """How its clients log in; None where nobody has to."""

    def client(self) -> Client:
        """Make a client of it."""
        return Client(self.url, self.login)


def peer_is_installed() -> bool:
    """Tell whether Debian's package docker-registry is here."""
    return shutil.which(PEER) is not None


@contextmanager
def program(command: list[str], url: str, log: Path, environment: Mapping[str, str]) -> Iterator[int]:
    """Run a server as long as the context lasts; yield its process id once it answers at ``url``."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        wait_until_it_answers(process, url, log)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_it_answers(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Ask every few milliseconds; raise RuntimeError with the log's end when nothing comes of it."""
    deadline = time.monotonic() + _START_SECONDS
    while not answers(url):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{process.args!r} does not answer:\n{log.read_text(errors='replace')[-4000:]}")
        time.sleep(0.005)


def answers(url: str) -> bool:
    """Tell whether a server answers at an address, whatever it says."""
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def slipway_command(port: int, data_dir: Path, workers: int, *, is_open: bool = True) -> list[str]:
    """Return how Slipway is started, with so many workers if this version knows about workers."""
    command = [sys.executable, "-m", "gateway", "serve", "--listen", f"127.0.0.1:{port}"]
    command += ["--data-dir", str(data_dir), *(["--open"] if is_open else [])]
    if any("--workers" in parameter.opts for parameter in serve.params):
        command += ["--workers", str(workers)]
    return command


def slipway_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return an environment that holds these settings of Slipway and no others."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLIPWAY_")}
    return environment | {f"SLIPWAY_{name.upper()}": value for name, value in settings.items()}


def s3_settings(endpoint_url: str, server: SeaweedFS, bucket: str = BUCKET_OF_SLIPWAY) -> dict[str, str]:
    """Return settings with which Slipway keeps its blobs in a bucket."""
    return {
        "storage": "s3",
        "s3_endpoint_url": endpoint_url,
        "s3_region": server.region,
        "s3_access_key_id": server.access_key,
        "s3_secret_access_key": server.secret_key,
        "s3_bucket": bucket,
    }


@contextmanager
def slipway(data_dir: Path, workers: int, settings: Mapping[str, str], *, accounts: bool = False) -> Iterator[Subject]:
    """Run Slipway from this checkout, open to everybody or with ``accounts``."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    log = data_dir.with_suffix(".log")
    login = Login(url, "bench", token_hex(32)) if accounts else None
    if login is not None:
        # Tokens that last longer than any benchmark: getting new ones is not what is measured.
        root = {"root_access_key_id": login.access_key_id, "root_secret_key": login.secret_key}
        settings = {"token_seconds": "86400", **root, **settings}
    command = slipway_command(port, data_dir, workers, is_open=login is None)
    with program(command, f"{url}/v2/", log, slipway_environment(settings)) as pid:
        yield Subject("slipway", url, ProcessTree(pid), login)


@contextmanager
def docker_registry(folder: Path, storage: Mapping[str, object]) -> Iterator[Subject]:
    """Run Debian's docker-registry, with the storage section of its configuration as given."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    folder.mkdir()
    file = folder / "config.yml"
    file.write_text(peer_configuration(port, storage))
    with program([PEER, "serve", str(file)], f"{url}/v2/", folder / "log", peer_environment()) as pid:
        yield Subject(PEER, url, ProcessTree(pid))


def peer_configuration(port: int, storage: Mapping[str, object]) -> str:
    """Return the peer's configuration: as Debian's, but without an access log. JSON is YAML."""
    configuration = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {**storage, "cache": {"blobdescriptor": "inmemory"}, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    return json.dumps(configuration)


def peer_environment() -> dict[str, str]:
    """Return the environment without a file of authorities: the peer's S3 driver fails on it, even over plain http."""
    return {name: value for name, value in os.environ.items() if name != "AWS_CA_BUNDLE"}


def peer_on_files(folder: Path) -> dict[str, object]:
    """Return the peer's storage configuration for a folder."""
    return {"filesystem": {"rootdirectory": str(folder)}}


def peer_on_s3(server: SeaweedFS, *, redirects: bool) -> dict[str, object]:
    """Return the peer's storage configuration for its bucket."""
    return {
        "s3": {
            "accesskey": server.access_key,
            "secretkey": server.secret_key,
            "region": server.region,
            "regionendpoint": server.endpoint_url,
            "bucket": BUCKET_OF_PEER,
            "secure": False,
        },
        "redirect": {"disable": not redirects},
    }
