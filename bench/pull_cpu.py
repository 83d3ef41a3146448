"""How much CPU time does the gateway take for each GiB that it sends?

Starts ``slipway serve`` from this checkout, pushes one blob, pulls it again and again over one connection or several,
and prints the CPU seconds of the gateway's process for each GiB. What arrives is compared by digest once.

    PYTHONPATH=.:tests .venv/bin/python -m bench.pull_cpu filesystem
    PYTHONPATH=.:tests .venv/bin/python -m bench.pull_cpu s3         # SeaweedFS
    PYTHONPATH=.:tests .venv/bin/python -m bench.pull_cpu nginx      # a fast origin; needs Debian's nginx-light
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from random import Random

from support.ports import free_ports
from support.seaweed import start_seaweedfs

MIB = 1 << 20
NGINX = """daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{ access_log off; sendfile on; sendfile_max_chunk 1m; tcp_nopush on; client_max_body_size 0;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  server {{ listen 127.0.0.1:{port}; root {folder}/objects;
    location / {{ if ($request_method != GET) {{ proxy_pass {behind}; }} proxy_set_header Host {host}; }} }} }}
"""


def main() -> None:
    """Measure one kind of storage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("storage", choices=["filesystem", "s3", "nginx"])
    parser.add_argument("--size", type=int, default=256, help="MiB of the blob")
    parser.add_argument("--pulls", type=int, default=8)
    parser.add_argument("--clients", type=int, default=1)
    options = parser.parse_args()
    content = Random(7).randbytes(MIB) * options.size
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm")))
        folder.chmod(0o755)
        environment = storage_environment(stack, options.storage, folder)
        port, process = serve(stack, folder, environment)
        path = push(port, content)
        if options.storage == "nginx":
            hand_over(folder, environment, content)
        assert hashlib.sha256(pull(port, path, keep=True)).digest() == hashlib.sha256(content).digest()
        threads = [
            threading.Thread(target=lambda: [pull(port, path) for _ in range(options.pulls)])
            for _ in range(options.clients)
        ]
        before, started = cpu(process.pid), time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        gib = options.pulls * options.clients * options.size / 1024
        seconds = time.monotonic() - started
        used = cpu(process.pid) - before
        print(f"{options.storage}, {options.clients} clients: {used / gib:.3f} CPU s/GiB, {gib / seconds:.2f} GiB/s")


def storage_environment(stack: ExitStack, storage: str, folder: Path) -> dict[str, str]:
    """Start what the storage needs and say how it is configured."""
    if storage == "filesystem":
        return {}
    seaweed = start_seaweedfs(folder / "weed")
    stack.callback(seaweed.stop)
    seaweed.create_bucket("bench")
    endpoint = seaweed.endpoint_url
    if storage == "nginx":
        endpoint = start_nginx(stack, folder, endpoint)
    return {
        "SLIPWAY_STORAGE": "s3",
        "SLIPWAY_S3_BUCKET": "bench",
        "SLIPWAY_S3_ENDPOINT_URL": endpoint,
        "SLIPWAY_S3_REGION": seaweed.region,
        "SLIPWAY_S3_ACCESS_KEY_ID": seaweed.access_key,
        "SLIPWAY_S3_SECRET_ACCESS_KEY": seaweed.secret_key,
        "REAL_ENDPOINT": seaweed.endpoint_url,
    }


def start_nginx(stack: ExitStack, folder: Path, behind: str) -> str:
    """Serve files by nginx, and pass everything that is no GET on to the real storage."""
    (port,) = free_ports(1)
    (folder / "objects").mkdir()
    configuration = folder / "nginx.conf"
    host = f"127.0.0.1:{port}"
    configuration.write_text(NGINX.format(folder=folder, port=port, behind=behind, host=host))
    nginx = subprocess.Popen(["/usr/sbin/nginx", "-c", str(configuration)])
    stack.callback(nginx.wait)
    stack.callback(nginx.terminate)
    return f"http://{host}"


def hand_over(folder: Path, environment: dict[str, str], content: bytes) -> None:
    """Lay the object where nginx finds it under its key."""
    import botocore.session  # noqa: PLC0415

    client = botocore.session.Session().create_client(
        "s3",
        region_name=environment["SLIPWAY_S3_REGION"],
        endpoint_url=environment["REAL_ENDPOINT"],
        aws_access_key_id=environment["SLIPWAY_S3_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["SLIPWAY_S3_SECRET_ACCESS_KEY"],
    )
    for found in client.list_objects_v2(Bucket="bench")["Contents"]:
        if found["Size"] == len(content):
            target = folder / "objects" / "bench" / found["Key"]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
    client.close()


def serve(stack: ExitStack, folder: Path, environment: dict[str, str]) -> tuple[int, subprocess.Popen[bytes]]:
    """Start the gateway and wait until it answers."""
    (port,) = free_ports(1)
    arguments = ["serve", "--open", "--listen", f"127.0.0.1:{port}", "--data-dir", str(folder / "data")]
    log = stack.enter_context((folder / "gateway.log").open("wb"))
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", *arguments], env=os.environ | environment, stdout=log, stderr=log
    )
    stack.callback(process.wait)
    stack.callback(process.terminate)
    for _ in range(600):
        if process.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            request(port, "GET", "/v2/")
        except OSError:
            time.sleep(0.1)
        else:
            return port, process
    sys.exit((folder / "gateway.log").read_text())


def push(port: int, content: bytes) -> str:
    """Push a blob and return its path."""
    digest = hashlib.sha256(content).hexdigest()
    location = request(port, "POST", "/v2/bench/blobs/uploads/")
    joint = "&" if "?" in location else "?"
    request(port, "PUT", f"{location}{joint}digest=sha256:{digest}", content)
    return f"/v2/bench/blobs/sha256:{digest}"


def request(port: int, method: str, path: str, body: bytes | None = None) -> str:
    """Make a request that must succeed, and return the Location of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request(method, path, body)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    if answer.status >= 400:
        sys.exit(f"{method} {path}: {answer.status} {text!r}")
    return answer.headers.get("Location", "").removeprefix(f"http://127.0.0.1:{port}")


def pull(port: int, path: str, *, keep: bool = False) -> bytes:
    """Pull a blob, and return it if it is to be kept."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    buffer, kept = bytearray(MIB), bytearray()
    while count := connection.recv_into(buffer):
        if keep:
            kept += memoryview(buffer)[:count]
    connection.close()
    return bytes(kept.partition(b"\r\n\r\n")[2])


def cpu(process: int) -> float:
    """Return the CPU seconds that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
