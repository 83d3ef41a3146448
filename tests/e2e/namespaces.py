"""Machines of a small network, each in a network namespace of its own: nothing of it is seen outside."""

from __future__ import annotations

import ctypes
import os
import secrets
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from e2e.processes import environment, find_program, run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_NETWORK_ONLY = 0x40000000  # CLONE_NEWNET
_libc = ctypes.CDLL(None, use_errno=True)


class Network:
    """Machines by their names, with an address each, on one switch."""

    def __init__(self, addresses: Mapping[str, str]) -> None:
        self.addresses = dict(addresses)
        # Names of interfaces have at most 15 characters.
        self._prefix = f"sw{secrets.token_hex(3)}"

    @contextmanager
    def at(self, machine: str) -> Iterator[None]:
        """Be at a machine: what this thread connects to or starts meanwhile is there."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            _enter(Path("/var/run/netns") / self._namespace(machine))
            try:
                yield
            finally:
                _set(before)
        finally:
            os.close(before)

    def set_up(self) -> None:
        """Make the switch, itself in a namespace, and plug the machines in."""
        switch = self._namespace("switch")
        _ip("netns", "add", switch)
        _ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        _ip("-n", switch, "link", "set", "bridge", "up")
        for number, (machine, address) in enumerate(self.addresses.items()):
            namespace, port = self._namespace(machine), f"port{number}"
            _ip("netns", "add", namespace)
            _ip("-n", switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", namespace)
            _ip("-n", switch, "link", "set", port, "master", "bridge", "up")
            _ip("-n", namespace, "address", "add", f"{address}/24", "dev", "eth0")
            for interface in ("lo", "eth0"):
                _ip("-n", namespace, "link", "set", interface, "up")

    def take_down(self) -> None:
        """Remove all of it."""
        for machine in ("switch", *self.addresses):
            if (Path("/var/run/netns") / self._namespace(machine)).exists():
                _ip("netns", "delete", self._namespace(machine))

    def _namespace(self, machine: str) -> str:
        return f"{self._prefix}-{machine}"


@contextmanager
def network(**addresses: str) -> Iterator[Network]:
    """Make a network of machines with these addresses as long as the context lasts; only root can."""
    made = Network(addresses)
    try:
        made.set_up()
        yield made
    finally:
        made.take_down()


def _ip(*arguments: str) -> None:
    run([find_program("ip", "iproute2"), *arguments], environment())


def _enter(namespace: Path) -> None:
    descriptor = os.open(namespace, os.O_RDONLY)
    try:
        _set(descriptor)
    finally:
        os.close(descriptor)


def _set(descriptor: int) -> None:
    if _libc.setns(descriptor, _NETWORK_ONLY) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
