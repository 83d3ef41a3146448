"""What ``slipway serve`` says to whoever has started it: where things are, and what to try."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from gateway.config import Address

if TYPE_CHECKING:
    from gateway.app.service import Start

_ROOT = """\
The root account was created, with this access key. Keep the secret key now: it is shown this once only.

  access key id  {id}
  secret key     {secret}

Log in with it as soon as Slipway serves:

  docker login -u {id} -p {secret} {host}
"""
_CHOSEN_ROOT = """\
The root account was created, with the access key that was chosen for it. Log in as soon as Slipway serves:

  docker login -u {id} {host}
"""
_SERVES = "Slipway serves at {url} ({open}stop it with Ctrl-C)\n"
_OPEN = "open to everybody on this machine; "
_TRY_IT = """
Try it from another terminal:

  docker pull alpine
  docker tag  alpine {host}/hello/alpine
  docker push {host}/hello/alpine
  docker pull {host}/hello/alpine
"""
_MAKE_ONE = """
Registries are at {host}. To make one, on a bucket of its own:

  slipway registry create NAME --bucket BUCKET
"""
_CONSOLE = "\nThe console is at {url}/ in a browser.\n"
_NO_CONSOLE = "\nThere is no console: with domains it needs a host of its own, SLIPWAY_CONSOLE_HOST.\n"
_DEFAULT_PORTS = {"http": 80, "https": 443}


def root_key(start: Start, access_key_id: str, secret_key: str | None) -> str:
    """Show the key of the root account, or only its id where somebody has chosen it."""
    host = _Places(start).registry
    return (_ROOT if secret_key else _CHOSEN_ROOT).format(host=host, id=access_key_id, secret=secret_key)


def greeting(start: Start) -> str:
    """Say that everything is ready, and what to try."""
    settings, places = start.settings, _Places(start)
    serves = _SERVES.format(url=f"{start.scheme}://{start.listen}", open=_OPEN if settings.open else "")
    try_it = (_TRY_IT if settings.default_name else _MAKE_ONE).format(host=places.registry)
    console = _CONSOLE.format(url=places.console) if places.console else _NO_CONSOLE
    return serves + try_it + console


class _Places:
    """Hosts as clients write them."""

    def __init__(self, start: Start) -> None:
        self._settings = start.settings
        self._scheme = start.scheme
        self._local = Address(_reachable(start.listen.host), start.listen.port)

    @property
    def registry(self) -> str:
        """Host of the default registry, or what hosts of registries are like where there is none."""
        settings = self._settings
        if settings.default_name and settings.public_domain:
            return self._outside(f"{settings.default_name}.{settings.public_domain}")
        if settings.default_name:
            return self._named or str(self._local)
        if settings.public_domain:
            return self._outside(f"NAME.{settings.public_domain}")
        return self._outside(f"LABEL.{settings.private_domain}")

    @property
    def console(self) -> str | None:
        """Address of the console, None where it has none."""
        settings = self._settings
        if settings.console_host:
            return f"{settings.public_scheme or self._scheme}://{self._outside(settings.console_host)}"
        if settings.domains:
            return None
        return f"{settings.public_scheme or self._scheme}://{self._named}" if self._named else self._local_url

    @property
    def _named(self) -> str | None:
        names = self._settings.host_names
        return self._outside(names[0]) if names else None

    @property
    def _local_url(self) -> str:
        return f"{self._scheme}://{self._local}"

    def _outside(self, host: str) -> str:
        """Add the port, unless it goes without saying or a load balancer in front has another one."""
        settings = self._settings
        is_behind = settings.public_scheme is not None or settings.trusted_proxies or settings.proxy_protocol
        is_usual = self._local.port == _DEFAULT_PORTS[self._scheme]
        return host if is_behind or is_usual else f"{host}:{self._local.port}"


def _reachable(host: str) -> str:
    """Return a host that clients on this machine can connect to."""
    try:
        is_any = ipaddress.ip_address(host).is_unspecified
    except ValueError:
        is_any = False
    if not is_any:
        return host
    return "::1" if ":" in host else "127.0.0.1"
