"""The account of the operating system that runs the embedded Postgres, which refuses to be root."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from gateway.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

# The user and group id of the server when Slipway runs as root. Not `nobody`, whom other services run
# as too: they could read the files and attach to the server. 65520 to 65533 is reserved by Debian and
# unused by systemd, and lies below 65536, the size of a rootless container's range of ids.
SERVICE_ID = 65527
NOBODY_ID = 65534


@dataclass(frozen=True, slots=True)
class ServerAccount:
    """Who owns the cluster and runs the server; another than Slipway's own if that is root."""

    uid: int
    gid: int
    is_other: bool

    @classmethod
    def for_server(cls) -> Self:
        """Choose it."""
        if os.geteuid() == 0:
            return cls(SERVICE_ID, SERVICE_ID, is_other=True)
        return cls(os.geteuid(), os.getegid(), is_other=False)

    def owns_privately(self, folder: Path) -> bool:
        """Tell whether a path is a folder, not a link, that only this account can enter."""
        try:
            status = folder.lstat()
        except FileNotFoundError:
            return False
        return stat.S_ISDIR(status.st_mode) and status.st_uid == self.uid and not status.st_mode & 0o077

    def check_access(self, *paths: Path) -> None:
        """Refuse paths that the account cannot reach, naming the first folder that is closed to it."""
        if not self.is_other:
            return
        folders = [str(folder) for path in paths for folder in (*reversed(path.parents), path)]
        check = 'for folder do [ -x "$folder" ] || { printf %s "$folder"; exit; } done'
        if closed := self.run("/bin/sh", "-c", check, "sh", *folders).stdout:
            raise ConfigurationError(
                f"the embedded Postgres runs as user id {self.uid}, which cannot enter {closed}: "
                f"run `chmod o+x {shlex.quote(closed)}`, or use a folder outside of it",
            )

    def run(self, *command: str | Path, user: int | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a program under the account, in a session of its own and without descriptors but those passed."""
        if self.is_other:
            options |= {"user": user or self.uid, "group": self.gid, "extra_groups": []}
        options = {"env": {}, "input": "", "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, **options}
        return subprocess.run(command, check=False, cwd="/", text=True, start_new_session=True, **options)  # noqa: S603
