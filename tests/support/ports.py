"""Free ports on the loopback interface for servers that tests start."""

from __future__ import annotations

import random
import socket

# Below the range from which the kernel takes the ports of outgoing connections, so that none of
# those grabs a port between the moment it was found free and the moment its server listens.
_CANDIDATES = range(20000, 32000)


def free_port() -> int:
    """Return one TCP port that nobody listens on at 127.0.0.1 at this moment."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Return distinct TCP ports that nobody listens on at 127.0.0.1 at this moment."""
    found: list[int] = []
    for port in random.SystemRandom().sample(_CANDIDATES, len(_CANDIDATES)):
        if len(found) == count:
            break
        if _is_free(port):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
