"""Two gateways, one database, one S3 server and a load balancer, configured by the examples in deploy/."""

from __future__ import annotations

import csv
import socket
import ssl
import sys
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import TYPE_CHECKING

from e2e.processes import Daemon, environment, eventually, find_program
from e2e.server import s3_settings
from support.ports import free_ports
from support.tls import make_tls

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from http.client import HTTPMessage

    from support.seaweed import SeaweedFS

ROOT = Path(__file__).resolve().parents[2]
PUBLIC, PRIVATE, CONSOLE = "registries.test", "inside.test", "console.test"
KEY_ID, SECRET = "fleet-root", "a secret that is long enough to be one"
SECONDS = 60.0
UNREADY_SECONDS = 5


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: HTTPMessage
    body: bytes


def ask(
    port: int,
    method: str,
    path: str,
    body: bytes = b"",
    *,
    host: str,
    address: str = "127.0.0.1",
    tls: ssl.SSLContext | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Send one request, by TLS where a context is given."""
    connection: HTTPConnection
    if tls is None:
        connection = HTTPConnection(address, port, timeout=SECONDS)
    else:
        connection = HTTPSConnection(address, port, timeout=SECONDS, context=tls)
    with closing(connection):
        connection.request(method, path, body, {"Host": host, **(headers or {})})
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())


def trusting_all() -> ssl.SSLContext:
    """Make a context for hosts whose names are in no certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@dataclass
class Gateway:
    """One ``slipway serve`` of the fleet."""

    port: int
    private_port: int
    daemon: Daemon
    address: str = "127.0.0.1"

    def start(self) -> None:
        """Start and return once it is ready."""
        self.daemon.start(self._is_ready)

    def stop(self) -> None:
        """Send SIGTERM and expect exit code 0."""
        code = self.daemon.stop()
        assert code == 0, f"a gateway ended with {code}:\n{self.daemon.tail()}"

    def _is_ready(self) -> bool:
        try:
            return ask(self.port, "GET", "/readyz", host="", address=self.address).status == 200
        except (OSError, HTTPException):
            return False


@dataclass
class Balancer:
    """A load balancer as deploy/ has it."""

    address: str
    public_port: int
    private_port: int
    daemon: Daemon
    socket: Path | None = None
    """Where HAProxy tells how it is."""

    def start(self) -> None:
        """Start and return once it reaches a gateway by both of its sides."""
        self.daemon.start(lambda: all(self._reaches(port) for port in (self.public_port, self.private_port)))

    def _reaches(self, port: int) -> bool:
        try:
            answer = ask(port, "GET", "/healthz", host="any", address=self.address, tls=trusting_all())
        except (OSError, HTTPException):
            return False
        return answer.status == 200

    def statistics(self) -> list[dict[str, str]]:
        """Return HAProxy's own figures, a row for each frontend, backend and server."""
        assert self.socket is not None
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self.socket))
            client.sendall(b"show stat\n")
            text = b"".join(iter(lambda: client.recv(65536), b"")).decode()
        return list(csv.DictReader(text.removeprefix("# ").splitlines()))

    def are_up(self) -> bool:
        """Tell whether both gateways are believed to be ready."""
        servers = [row for row in self.statistics() if row["svname"].startswith("gateway")]
        return bool(servers) and all(row["status"].startswith("UP") for row in servers)


@dataclass
class Fleet:
    """Everything, with what it was configured to be."""

    gateways: Sequence[Gateway]
    balancer: Balancer

    def tail(self) -> str:
        """Return the ends of all logs."""
        return "\n".join(each.tail() for each in (*(gateway.daemon for gateway in self.gateways), self.balancer.daemon))


def gateway_settings(
    database: str, seaweed: SeaweedFS, folder: Path, bucket: str, balancer: str = "127.0.0.1"
) -> dict[str, str]:
    """Return what all gateways have in common: where their load balancer is, and what they store in."""
    tls = folder / "private"
    tls.mkdir()
    make_tls(tls)
    return {
        **s3_settings(seaweed, bucket, "proxy"),
        "SLIPWAY_DATABASE_URL": database,
        "SLIPWAY_TRUSTED_PROXIES": f"{balancer}/32",
        "SLIPWAY_PRIVATE_PROXY_PROTOCOL": f"{balancer}/32",
        "SLIPWAY_PRIVATE_TLS_CERTIFICATE": str(tls / "certificate.pem"),
        "SLIPWAY_PRIVATE_TLS_KEY": str(tls / "key.pem"),
    }


def gateway(
    folder: Path, name: str, settings: Mapping[str, str], ports: Sequence[int], address: str = "127.0.0.1"
) -> Gateway:
    """Prepare a gateway of two workers with a data folder of its own."""
    home = folder / name
    home.mkdir()
    own = {
        "SLIPWAY_LISTEN": f"{address}:{ports[0]}",
        "SLIPWAY_PRIVATE_LISTEN": f"{address}:{ports[1]}",
        "SLIPWAY_WORKERS": "2",
        "SLIPWAY_DATA_DIR": str(home / "data"),
        "SLIPWAY_PUBLIC_DOMAIN": PUBLIC,
        "SLIPWAY_PRIVATE_DOMAIN": PRIVATE,
        "SLIPWAY_CONSOLE_HOST": CONSOLE,
        "SLIPWAY_DEFAULT_REGISTRY": "team",
        "SLIPWAY_ROOT_ACCESS_KEY_ID": KEY_ID,
        "SLIPWAY_ROOT_SECRET_KEY": SECRET,
        "SLIPWAY_UNREADY_SECONDS": str(UNREADY_SECONDS),
    }
    command = [sys.executable, "-m", "gateway", "serve"]
    daemon = Daemon(command, environment(**{**own, **settings}), home / "gateway.log", ROOT)
    return Gateway(ports[0], ports[1], daemon, address)


def certificate(folder: Path) -> Path:
    """Make a certificate, and return a file that has its key as well, as HAProxy wants it."""
    folder.mkdir(exist_ok=True)
    make_tls(folder)
    both = folder / "both.pem"
    both.write_bytes((folder / "certificate.pem").read_bytes() + (folder / "key.pem").read_bytes())
    return both


def haproxy(folder: Path, gateways: Sequence[Gateway], ports: tuple[int, int], address: str = "127.0.0.1") -> Balancer:
    """Prepare HAProxy with deploy/haproxy.cfg, in which nothing but addresses and paths are changed."""
    changes = {
        **_addresses(gateways),
        "bind :443": f"bind {address}:{ports[0]}",
        "bind 10.0.0.10:443": f"bind {address}:{ports[1]}",
        "/etc/haproxy/certs/public.pem": str(certificate(folder / "certs")),
        "/run/haproxy/admin.sock": str(folder / "haproxy.sock"),
    }
    file = _example("haproxy.cfg", changes, folder)
    daemon = Daemon([find_program("haproxy", "haproxy"), "-W", "-f", str(file)], environment(), folder / "haproxy.log")
    return Balancer(address, *ports, daemon, folder / "haproxy.sock")


def nginx(folder: Path, gateways: Sequence[Gateway], ports: tuple[int, int]) -> Balancer:
    """Prepare nginx with deploy/nginx.conf, in which nothing but addresses and paths are changed."""
    both = certificate(folder / "certs")
    changes = {
        **_addresses(gateways),
        "listen 443 ssl": f"listen 127.0.0.1:{ports[0]} ssl",
        "listen 10.0.0.10:443 ssl": f"listen 127.0.0.1:{ports[1]} ssl",
        "/etc/nginx/certs/public.pem": str(both),
        "/etc/nginx/certs/public.key": str(both),
        "/etc/nginx/certs/private.pem": str(both),
        "/etc/nginx/certs/private.key": str(both),
        "/var/log/nginx/error.log": str(folder / "error.log"),
        "/var/log/nginx/access.log": str(folder / "access.log"),
    }
    file = _example("nginx.conf", changes, folder)
    own = f"daemon off; pid {folder}/nginx.pid;"
    command = [find_program("nginx", "nginx-light"), "-e", f"{folder}/error.log", "-c", str(file), "-g", own]
    return Balancer("127.0.0.1", *ports, Daemon(command, environment(), folder / "nginx.log"))


def _addresses(gateways: Sequence[Gateway]) -> dict[str, str]:
    found = {}
    for number, each in enumerate(gateways, 11):
        found[f"10.0.0.{number}:5000"] = f"{each.address}:{each.port}"
        found[f"10.0.0.{number}:5001"] = f"{each.address}:{each.private_port}"
    return found


def _example(name: str, changes: Mapping[str, str], folder: Path) -> Path:
    lines = (ROOT / "deploy" / name).read_text().splitlines()
    # What the comments say is for people.
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#")) + "\n"
    for old, new in changes.items():
        assert old in text, f"deploy/{name} has no {old}"
        text = text.replace(old, new)
    file = folder / name
    file.write_text(text)
    return file


@contextmanager
def running(fleet: Fleet) -> Iterator[Fleet]:
    """Start everything, and end it."""
    try:
        for each in fleet.gateways:
            each.start()
        fleet.balancer.start()
        if fleet.balancer.socket is not None:
            eventually(fleet.balancer.are_up, "both gateways to be up")
        yield fleet
    finally:
        daemons = [fleet.balancer.daemon, *(each.daemon for each in fleet.gateways)]
        for daemon in daemons:
            if daemon.is_running():
                with suppress(Exception):
                    daemon.stop()


def fleet_ports() -> list[int]:
    """Return free ports: two for the balancer and two for each gateway."""
    return free_ports(6)
