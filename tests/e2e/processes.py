"""Programs that the tests start: looked up, run to their end, or kept running and ended by their own id."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

COMMAND_SECONDS = 180.0
READY_SECONDS = 60.0
STOP_SECONDS = 40.0
TAIL_BYTES = 6000

# Settings of the person who runs the tests must reach neither the clients nor the registry.
_FOREIGN = ("SLIPWAY_", "DOCKER_", "CONTAINERD_", "CONTAINERS_", "BUILDAH_", "REGISTRY_", "AWS_", "XDG_")


class MissingProgramError(Exception):
    """A program is not installed; the message names the Debian package that brings it."""


class CommandFailedError(Exception):
    """A command ended with another exit code than 0; the message has all that it printed."""


def find_program(name: str, debian_package: str) -> str:
    """Return the path of a program, also from the folders that only root has on its path."""
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))
    if found is None:
        raise MissingProgramError(f"{name} is not installed: apt-get install {debian_package}")
    return found


def environment(**extra: str) -> dict[str, str]:
    """Return this process's environment without proxies and settings of registries and clients, plus ``extra``."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_FOREIGN) and not name.lower().endswith("_proxy")
    }
    return {**kept, **extra}


def run(command: list[str], env: Mapping[str, str], seconds: float = COMMAND_SECONDS) -> str:
    """Run a command to its end and return what it printed, errors included; raises CommandFailedError."""
    done = subprocess.run(
        command,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=seconds,
        check=False,
    )
    output = done.stdout.decode(errors="replace")
    if done.returncode != 0:
        raise CommandFailedError(f"{' '.join(command)}\nended with {done.returncode}:\n{output}")
    return output


def run_at_terminal(command: list[str], env: Mapping[str, str], prompt: str, reply: str) -> str:
    """Run a command at a terminal, type a line when it has asked for that, and return what was to be read there.

    Raises CommandFailedError.
    """
    ours, theirs = pty.openpty()
    with (
        os.fdopen(ours, "r+b", buffering=0) as terminal,
        subprocess.Popen(
            command, env=env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        ) as process,
    ):
        os.close(theirs)
        output, has_replied = b"", False
        with suppress(OSError):  # how Linux tells that nobody is at the other end any more
            while read := terminal.read(4096):
                output += read
                if not has_replied and prompt.encode() in output:
                    terminal.write(f"{reply}\n".encode())
                    has_replied = True
        code = process.wait(COMMAND_SECONDS)
    text = output.decode(errors="replace")
    if code != 0 or not has_replied:
        raise CommandFailedError(f"{' '.join(command)}\nended with {code}:\n{text}")
    return text


def eventually(condition: Callable[[], bool], what: str, seconds: float = READY_SECONDS) -> None:
    """Ask until a condition holds; fails with ``what`` was waited for."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s in vain for {what}"
        pause.wait(0.05)


@dataclass(slots=True)
class Daemon:
    """A program that runs in a process session of its own and writes its output into a file."""

    command: list[str]
    env: Mapping[str, str]
    log: Path
    cwd: Path | None = None
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self, is_ready: Callable[[], bool]) -> None:
        """Start the program and return once it is ready; a program that ends before that is an error."""
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self.command,
                cwd=self.cwd,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            eventually(lambda: is_ready() or not self.is_running(), f"{self.command[0]} to be ready")
            assert self.is_running(), f"{self.command[0]} ended early"
        except BaseException as error:
            error.add_note(self.tail())
            self.kill()
            raise

    def is_running(self) -> bool:
        """Tell whether the program was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> int:
        """Ask the program to end (SIGTERM) and return its exit code; one that does not end is killed."""
        assert self._process is not None
        self._process.terminate()
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """End the program and all that belongs to its process group at once, as a power cut would."""
        assert self._process is not None
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def tail(self) -> str:
        """Return the end of the log."""
        if not self.log.exists():
            return ""
        return self.log.read_bytes()[-TAIL_BYTES:].decode(errors="replace")
