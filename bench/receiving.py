"""How much CPU does a push cost the gateway? Push one blob by curl and print CPU seconds per GiB of its process."""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tests")]

from support.seaweed import start_seaweedfs  # noqa: E402  (the tests' folder is not installed)

if TYPE_CHECKING:
    from collections.abc import Iterator

_TICKS = os.sysconf("SC_CLK_TCK")
_GIB = 1 << 30


def cpu_seconds(pid: int) -> tuple[float, float]:
    """Return the seconds that a process has spent in user mode and in the kernel."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return int(fields[11]) / _TICKS, int(fields[12]) / _TICKS


@contextmanager
def gateway(folder: Path, environment: dict[str, str]) -> Iterator[tuple[int, str]]:
    """Run a gateway; yield its process id and its URL."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "gateway", "serve", "--open", f"--listen=127.0.0.1:{port}", f"--data-dir={folder}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env={**os.environ, **environment})
    try:
        assert process.stdout is not None
        if not process.stdout.readline():
            raise SystemExit((folder / "log").read_text())
        yield process.pid, f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def push(url: str, blob: Path, digest: str, *, chunked: bool) -> None:
    """Push a blob as docker does, or with a length."""
    request = urllib.request.Request(f"{url}/v2/bench/blobs/uploads/", method="POST")
    with urllib.request.urlopen(request) as answer:
        location = answer.headers["Location"]
    location = location if location.startswith("http") else url + location
    framing = ["-H", "Transfer-Encoding: chunked"] if chunked else []
    curl = ["curl", "-sS", "-f", "-o", os.devnull]
    subprocess.run([*curl, "-X", "PATCH", "-H", "Expect:", *framing, "-T", blob, location], check=True)
    subprocess.run([*curl, "-X", "PUT", f"{location}?digest={digest}"], check=True)


def measure(folder: Path, blob: Path, environment: dict[str, str], rounds: int) -> None:
    """Print one line for each push."""
    size = blob.stat().st_size
    with blob.open("rb") as content:
        digest = f"sha256:{hashlib.file_digest(content, 'sha256').hexdigest()}"
    for framing in ("chunked", "length"):
        for _ in range(rounds):
            # A process and a data directory for each push: a blob that is there already would cost less.
            data = Path(tempfile.mkdtemp(dir=folder))
            data.chmod(0o755)
            with gateway(data, environment) as (pid, url):
                before = cpu_seconds(pid)
                push(url, blob, digest, chunked=framing == "chunked")
                user, system = (b - a for a, b in zip(before, cpu_seconds(pid), strict=True))
            each = size / _GIB
            total = (user + system) / each
            print(f"{framing:8} {total:.2f} CPU s/GiB ({user / each:.2f} user, {system / each:.2f} system)", flush=True)
            subprocess.run(["rm", "-rf", data], check=True)


def main() -> None:
    """Measure with the storage and size that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--storage", choices=("filesystem", "s3"), default="filesystem")
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--folder", default="/dev/shm", help="where the data lies; a tmpfs measures the gateway alone")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        folder.chmod(0o755)
        blob = folder / "blob"
        with blob.open("wb") as content:
            for _ in range(options.mib):
                content.write(os.urandom(1 << 20))
        if options.storage == "filesystem":
            measure(folder, blob, {}, options.rounds)
            return
        seaweed = start_seaweedfs(folder / "weed")
        try:
            seaweed.create_bucket("bench")
            settings = {
                "STORAGE": "s3",
                "S3_BUCKET": "bench",
                "S3_ENDPOINT_URL": seaweed.endpoint_url,
                "S3_ACCESS_KEY_ID": seaweed.access_key,
                "S3_SECRET_ACCESS_KEY": seaweed.secret_key,
            }
            measure(folder, blob, {f"SLIPWAY_{key}": value for key, value in settings.items()}, options.rounds)
        finally:
            seaweed.stop()


if __name__ == "__main__":
    main()
