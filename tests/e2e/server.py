"""The registry under test: the real program, started as a person would start it."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING

from e2e.processes import Daemon, environment, eventually
from e2e.wire import Wire
from support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Mapping

    from support.seaweed import SeaweedFS

REPOSITORY_ROOT = Path(__file__).resolve().parents[2]


class Server:
    """One ``slipway serve`` on a port of its own; it may be stopped, killed and started again."""

    def __init__(
        self, folder: Path, settings: Mapping[str, str], *, data: Path | None = None, code: Path = REPOSITORY_ROOT
    ) -> None:
        """Prepare a server; ``data`` is given when several share a data folder, ``code`` to run another program.

        It is open to everybody unless the settings choose a key for root.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.data = data if data is not None else folder / "data"
        self.wire = Wire(self.address)
        self._is_open = "SLIPWAY_ROOT_ACCESS_KEY_ID" not in settings
        env = environment(**settings, PYTHONPATH=str(code))
        self._daemon = Daemon(self._command(), env, folder / "registry.log", code)

    def _command(self) -> list[str]:
        program = [sys.executable, "-m", "gateway", "serve"]
        return [
            *program,
            "--listen",
            self.address,
            "--data-dir",
            str(self.data),
            *(["--open"] if self._is_open else []),
        ]

    def start(self) -> None:
        """Start and return once ``GET /v2/`` answers 200, or asks for a login."""
        self._daemon.start(self._answers)

    def stop(self) -> None:
        """Send SIGTERM and expect exit code 0."""
        code = self._daemon.stop()
        assert code == 0, f"the registry ended with {code}:\n{self._daemon.tail()}"

    def kill(self) -> None:
        """Kill all processes of the registry itself (SIGKILL); its database goes on, as it may."""
        self._daemon.kill()

    def kill_database(self) -> None:
        """Kill the embedded database too, if it runs."""
        for pid in self._database_processes():
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: not self._database_processes(), "the database to be gone")

    def close(self) -> None:
        """End the server properly if it still runs."""
        if self._daemon.is_running():
            self.stop()

    def _database_processes(self) -> list[int]:
        """Read the database's process id from the file that Postgres keeps while it runs."""
        lines = [path.read_text().partition("\n")[0] for path in self.data.rglob("postmaster.pid")]
        return [pid for pid in (int(line) for line in lines if line) if _is_postgres(pid)]

    def tail(self) -> str:
        """Return the end of the registry's log."""
        return self._daemon.tail()

    def _answers(self) -> bool:
        try:
            return Wire(self.address).request("GET", "/v2/").status == (200 if self._is_open else 401)
        except (OSError, HTTPException):
            return False


@dataclass(slots=True)
class Servers:
    """Makes servers on one data folder and ends all of them, whatever became of the test."""

    folder: Path
    settings: Mapping[str, str]
    made: list[Server] = field(default_factory=list)

    def make(self, code: Path = REPOSITORY_ROOT) -> Server:
        """Return one more server, not yet started, of this program or another one."""
        folder = self.folder / f"server-{len(self.made)}"
        self.made.append(Server(folder, self.settings, data=self.folder / "data", code=code))
        return self.made[-1]

    def close(self) -> None:
        """End all servers, and then a database that a killed one left behind."""
        with ExitStack() as stack:
            for server in self.made:
                stack.callback(server.kill_database)
            for server in self.made:
                stack.callback(server.close)

    def tail(self) -> str:
        """Return the ends of all logs."""
        return "\n".join(server.tail() for server in self.made)


def s3_settings(seaweed: SeaweedFS, bucket: str, delivery: str) -> dict[str, str]:
    """Make a bucket and return the settings of a registry that keeps its blobs in it."""
    seaweed.create_bucket(bucket)
    return {**seaweed.environment(bucket), "SLIPWAY_BLOB_DELIVERY": delivery}


def _is_postgres(pid: int) -> bool:
    try:
        return b"postgres" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return False
