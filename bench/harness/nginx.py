"""nginx beside Slipway: as an origin that is faster than any S3 server, and as the proxy to be beaten."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bench.harness.processes import ProcessTree
from bench.harness.programs import Subject, program, slipway_environment
from support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CONFIGURATION = """\
{user}
daemon off;
worker_processes 2;
pid {folder}/pid;
error_log {folder}/log warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    default_type application/octet-stream;
    client_max_body_size 0;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_request_buffering off;
    {tuning}
    upstream behind {{ server {behind}; keepalive 64; }}
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        root {folder}/files;
        {locations}
    }}
}}
"""
# Files that lie here are served from here, at the addresses and signatures of the S3 server; all else goes there.
_ORIGIN = "location / { try_files $uri @behind; } location @behind { proxy_pass http://behind; }"
_PROXY = "location / { proxy_pass http://behind; }"
# As it comes, nginx proxies through eight buffers of a page each, and into a file when the client is slower.
_TUNING = "proxy_max_temp_file_size 0; proxy_buffers 32 64k; proxy_busy_buffers_size 256k;"


def nginx_is_installed() -> bool:
    """Tell whether nginx is here."""
    return shutil.which("nginx", path="/usr/sbin:/usr/bin") is not None


@contextmanager
def origin(folder: Path, s3_url: str) -> Iterator[Subject]:
    """Serve files in ``folder/files``; hand requests for all others on to the S3 server."""
    with _nginx(folder, "nginx origin", _ORIGIN, s3_url) as subject:
        yield subject


@contextmanager
def proxy(folder: Path, origin_url: str) -> Iterator[Subject]:
    """Hand all requests on to an origin, with the buffers that nginx has when nobody tunes it."""
    with _nginx(folder, "nginx proxy", _PROXY, origin_url) as subject:
        yield subject


@contextmanager
def tuned_proxy(folder: Path, origin_url: str) -> Iterator[Subject]:
    """Hand all requests on to an origin, through 2 MiB of memory for each, and never through a file."""
    with _nginx(folder, "nginx proxy, tuned", _PROXY, origin_url, _TUNING) as subject:
        yield subject


@contextmanager
def _nginx(folder: Path, name: str, locations: str, behind: str, tuning: str = "") -> Iterator[Subject]:
    (folder / "files").mkdir(parents=True)
    port = free_port()
    user = "user root;" if folder.stat().st_uid == 0 else ""
    configuration = _CONFIGURATION.format(
        user=user, folder=folder, behind=urlsplit(behind).netloc, port=port, locations=locations, tuning=tuning
    )
    (folder / "nginx.conf").write_text(configuration)
    (folder / "log").touch()
    binary = shutil.which("nginx", path="/usr/sbin:/usr/bin")
    assert binary is not None
    command = [binary, "-e", str(folder / "log"), "-p", str(folder), "-c", str(folder / "nginx.conf")]
    url = f"http://127.0.0.1:{port}"
    with program(command, f"{url}/", folder / "log", slipway_environment({})) as pid:
        yield Subject(name, url, ProcessTree(pid))
