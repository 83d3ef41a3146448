"""Settings: defaults, then a TOML file, then the environment, then the command line. Unknown names are refused."""

from __future__ import annotations

import ipaddress
import math
import os
import re
import tomllib
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from gateway.errors import ConfigurationError
from gateway.model.access import is_access_key_id
from gateway.model.endpoints import check_registry_name
from gateway.model.networks import ANYWHERE, Networks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_PREFIX = "SLIPWAY_"
_CONFIG_FILE = "SLIPWAY_CONFIG"
URL_VARIABLE = "SLIPWAY_URL"
ACCESS_KEY_ID_VARIABLE = "SLIPWAY_ACCESS_KEY_ID"
SECRET_KEY_VARIABLE = "SLIPWAY_SECRET_KEY"  # noqa: S105  (the name of it)
# What begins like a setting and is none: how commands reach a running server.
_NO_SETTINGS = {_CONFIG_FILE, URL_VARIABLE, ACCESS_KEY_ID_VARIABLE, SECRET_KEY_VARIABLE}
_PAIRS = (
    ("root_access_key_id", "root_secret_key"),
    ("s3_access_key_id", "s3_secret_access_key"),
    ("tls_certificate", "tls_key"),
    ("private_tls_certificate", "private_tls_key"),
)
_LARGEST_PORT = 65535
_MOST_WORKERS_BY_DEFAULT = 16
_SHORTEST_SECRET = 32
_DEFAULT_REGISTRY = "default"
_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*", re.ASCII)
_CONTAINER_LIMIT = Path("/sys/fs/cgroup/cpu.max")


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen: a host name or IP address, and a port (0 for any free one)."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``host:port``, with an IPv6 address in brackets; raise ValueError."""
        host, colon, port = text.rpartition(":")
        if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > _LARGEST_PORT:
            raise ValueError("an address is written as host:port, for instance 127.0.0.1:5000")
        return cls(host.removeprefix("[").removesuffix("]"), int(port))

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def default_data_dir() -> Path:
    """Return the data directory by the habits of the system: of the machine for root, of the user for others."""
    if os.geteuid() == 0:
        return Path("/var/lib/slipway")
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "slipway"


def default_workers() -> int:
    """Return the number of cores that this process may use; beyond 16, somebody has to ask for it."""
    cores = len(os.sched_getaffinity(0))
    # Containers are limited by a share of time rather than by cores: "quota period", in microseconds.
    with suppress(OSError, ValueError):
        quota, period = _CONTAINER_LIMIT.read_text(encoding="ascii").split()
        cores = min(cores, math.ceil(int(quota) / int(period)))
    # The embedded Postgres would not have connections for a large machine's workers.
    return max(1, min(cores, _MOST_WORKERS_BY_DEFAULT))


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be configured; each field but ``open`` is a TOML key and ``SLIPWAY_`` + its upper case."""

    listen: Address = Address("127.0.0.1", 5000)
    workers: int = field(default_factory=default_workers)
    data_dir: Path = field(default_factory=default_data_dir)
    database_url: str | None = field(default=None, repr=False)
    storage: str = "filesystem"
    s3_endpoint_url: str | None = None
    s3_public_endpoint_url: str | None = None
    s3_private_endpoint_url: str | None = None
    s3_region: str = "us-east-1"
    s3_access_key_id: str | None = None
    s3_secret_access_key: str | None = field(default=None, repr=False)
    s3_bucket: str | None = None
    blob_delivery: str = "proxy"
    public_domain: str | None = None
    private_domain: str | None = None
    console_host: str | None = None
    host_names: tuple[str, ...] = ()
    default_registry: str | None = None
    trusted_proxies: Networks = ANYWHERE
    proxy_protocol: Networks = ANYWHERE
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    private_listen: Address | None = None
    private_trusted_proxies: Networks = ANYWHERE
    private_proxy_protocol: Networks = ANYWHERE
    private_tls_certificate: Path | None = None
    private_tls_key: Path | None = None
    public_scheme: str | None = None
    private_scheme: str | None = None
    encryption_key: str | None = field(default=None, repr=False)
    root_access_key_id: str | None = None
    root_secret_key: str | None = field(default=None, repr=False)
    token_seconds: int = 600
    audit_days: int = 400
    restore_days: int = 7
    grace_hours: int = 24
    metrics_listen: Address | None = None
    log_format: str = "text"
    connections_per_address: int = 1000
    header_bytes: int = 65536
    request_seconds: int = 21600
    largest_blob: int | None = None
    unready_seconds: int = 0
    drain_seconds: int = 30
    runtime_dir: Path | None = None
    hourly_days: int = 35
    uncounted_keys: tuple[str, ...] = ()
    uncounted_agents: tuple[str, ...] = ()
    open: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot work together; raises ConfigurationError."""
        for address in (self.listen, self.private_listen):
            if self.open and address is not None and not address.is_loopback:
                raise ConfigurationError(
                    f"--open means that anybody who can connect may push and delete: it is refused on {address}, "
                    "listen on a loopback address such as 127.0.0.1:5000",
                )
        if self.storage == "s3" and not self.s3_bucket and self.default_name:
            raise ConfigurationError("storage s3 needs a bucket: set SLIPWAY_S3_BUCKET to the name of an existing one")
        self._check_hosts()
        for one, other in _PAIRS:
            if (getattr(self, one) is None) != (getattr(self, other) is None):
                names = f"{_PREFIX}{one.upper()} and {_PREFIX}{other.upper()}"
                raise ConfigurationError(f"{names} belong together: set both")

    @property
    def domains(self) -> tuple[str, ...]:
        """The domains of registries' hosts."""
        return tuple(domain for domain in (self.public_domain, self.private_domain) if domain)

    @property
    def default_name(self) -> str | None:
        """Name of the registry for hosts that name none, None where there is none."""
        return self.default_registry or (None if self.domains else _DEFAULT_REGISTRY)

    @property
    def reserved_names(self) -> frozenset[str]:
        """Names that no registry may have, since they would be taken for other hosts."""
        others = [host for host in (*self.host_names, self.private_domain) if host]
        in_the_domain = [host for host in others if host.partition(".")[2] == self.public_domain]
        return frozenset(host.partition(".")[0] for host in (self.console_host, *in_the_domain) if host)

    def _check_hosts(self) -> None:
        if self.public_domain and self.public_domain == self.private_domain:
            raise ConfigurationError("SLIPWAY_PUBLIC_DOMAIN and SLIPWAY_PRIVATE_DOMAIN must be two different domains")
        if self.private_listen is not None and self.private_domain is None:
            raise ConfigurationError(
                "SLIPWAY_PRIVATE_LISTEN is where private endpoints answer, which need a domain: "
                "set SLIPWAY_PRIVATE_DOMAIN"
            )
        for domain in self.domains:
            if self.console_host and self.console_host.endswith(f".{domain}"):
                raise ConfigurationError(
                    f"the console cannot be at {self.console_host}: hosts under {domain} are those of registries, "
                    "and what people see there must not get at the console; choose a host outside of it"
                )


def load(
    environment: Mapping[str, str], config_file: Path | None = None, overrides: Mapping[str, Any] | None = None
) -> Settings:
    """Read all settings; raise ConfigurationError with one sentence for whatever is wrong.

    ``overrides`` are parsed values from the command line; None means that it says nothing.
    """
    values: dict[str, Any] = {}
    file = config_file or (Path(environment[_CONFIG_FILE]) if environment.get(_CONFIG_FILE) else None)
    if file is not None:
        values |= _from_file(file)
    values |= _from_environment(environment)
    values |= {name: value for name, value in (overrides or {}).items() if value is not None}
    return Settings(**values)


def _from_file(file: Path) -> dict[str, Any]:
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"the configuration file {file} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the configuration file {file} is not TOML: {error}") from error
    for name in document:
        if name not in _PARSERS:
            raise ConfigurationError(f"the configuration file {file} has an unknown setting {name}")
    return {name: _parsed(name, value, f"{name} in {file}") for name, value in document.items()}


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    values = {}
    for variable, value in environment.items():
        if not variable.startswith(_PREFIX) or variable in _NO_SETTINGS:
            continue
        name = variable.removeprefix(_PREFIX).lower()
        if name not in _PARSERS or variable != variable.upper():
            raise ConfigurationError(f"the environment variable {variable} is no setting of slipway")
        values[name] = _parsed(name, value, variable)
    return values


def _parsed(name: str, value: Any, where: str) -> Any:
    if not isinstance(value, str):
        raise ConfigurationError(f"{where} must be a text in quotes")
    try:
        return _PARSERS[name](value)
    except ValueError as error:
        shown = "wrong" if name in _SECRETS else repr(value)
        raise ConfigurationError(f"{where} is {shown}: {error}") from (None if name in _SECRETS else error)


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"it must be {' or '.join(choices)}")
        return text

    return parse


def _whole(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ValueError("it must be a whole number from 0 on")
    return int(text)


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not int(text) > 0:
        raise ValueError("it must be a whole number from 1 on")
    return int(text)


def _at_least(fewest: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        number = _positive(text)
        if number < fewest:
            raise ValueError(f"it must be at least {fewest}")
        return number

    return parse


def _secret(text: str) -> str | None:
    if text and len(text) < _SHORTEST_SECRET:
        raise ValueError(f"it must have at least {_SHORTEST_SECRET} characters, for instance of `openssl rand -hex 32`")
    return text or None


def _host(text: str) -> str | None:
    if text and not _HOST.fullmatch(text.lower()):
        raise ValueError("it must be a host name such as registry.example.com, without scheme and port")
    return text.lower() or None


def _hosts(text: str) -> tuple[str, ...]:
    return tuple(host for part in text.split(",") if (host := _host(part.strip())))


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _path(text: str) -> Path | None:
    return Path(text) if text else None


def _networks(text: str) -> Networks:
    return Networks.parse(part for part in text.split(",") if part.strip())


def _access_key_id(text: str) -> str | None:
    if text and not is_access_key_id(text):
        raise ValueError("it must have 3 to 64 letters, digits, hyphens and underscores")
    return text or None


def _registry_name(text: str) -> str | None:
    return check_registry_name(text) if text else None


def _address(text: str) -> Address | None:
    return Address.parse(text) if text else None


def _text(text: str) -> str | None:
    """Read a text; an empty one is none, so that a variable can be unset by emptying it."""
    return text or None


def _url(*schemes: str) -> Callable[[str], str | None]:
    def parse(text: str) -> str | None:
        if text and not text.startswith(tuple(f"{scheme}://" for scheme in schemes)):
            raise ValueError(f"it must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
        return text or None

    return parse


_PARSERS: dict[str, Callable[[str], Any]] = {
    "listen": Address.parse,
    "workers": _positive,
    "data_dir": Path,
    "database_url": _url("postgresql", "postgres"),
    "storage": _one_of("filesystem", "s3"),
    "s3_endpoint_url": _url("http", "https"),
    "s3_public_endpoint_url": _url("http", "https"),
    "s3_private_endpoint_url": _url("http", "https"),
    "s3_region": str,
    "s3_access_key_id": _text,
    "s3_secret_access_key": _text,
    "s3_bucket": _text,
    "blob_delivery": _one_of("proxy", "redirect"),
    "public_domain": _host,
    "private_domain": _host,
    "console_host": _host,
    "host_names": _hosts,
    "default_registry": _registry_name,
    "trusted_proxies": _networks,
    "proxy_protocol": _networks,
    "tls_certificate": _path,
    "tls_key": _path,
    "private_listen": _address,
    "private_trusted_proxies": _networks,
    "private_proxy_protocol": _networks,
    "private_tls_certificate": _path,
    "private_tls_key": _path,
    "public_scheme": _one_of("http", "https"),
    "private_scheme": _one_of("http", "https"),
    "encryption_key": _secret,
    "root_access_key_id": _access_key_id,
    "root_secret_key": _secret,
    "token_seconds": _at_least(60),
    "audit_days": _positive,
    "restore_days": _positive,
    "grace_hours": _positive,
    "metrics_listen": _address,
    "log_format": _one_of("text", "json"),
    "connections_per_address": _positive,
    "header_bytes": _at_least(8192),
    "request_seconds": _at_least(60),
    "largest_blob": _positive,
    "unready_seconds": _whole,
    "drain_seconds": _whole,
    "runtime_dir": _path,
    "hourly_days": _positive,
    "uncounted_keys": _list,
    "uncounted_agents": _list,
}
_SECRETS = {each.name for each in fields(Settings) if not each.repr}
assert {each.name for each in fields(Settings)} == {*_PARSERS, "open"}, "each setting has a parser"
