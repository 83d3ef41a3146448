"""The release before this program: its code, from the history of the repository itself."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_NAMED_IN = _ROOT / "deploy" / "previous-release"


def unpack_previous_release(folder: Path) -> Path:
    """Unpack the code of the commit that ``deploy/previous-release`` names, and return the folder."""
    commit = _NAMED_IN.read_text(encoding="ascii").strip()
    if _git("rev-parse", "--is-shallow-repository").strip() == b"true":
        raise RuntimeError("this clone has no history, which the previous release is taken from: git fetch --unshallow")
    with tarfile.open(fileobj=io.BytesIO(_git("archive", commit, "gateway", "sql"))) as archive:
        archive.extractall(folder, filter="data")
    return folder


def _git(*arguments: str) -> bytes:
    # CI's clone may belong to somebody else than whoever runs the tests.
    command = ["git", "-C", str(_ROOT), "-c", f"safe.directory={_ROOT}", *arguments]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode != 0:
        reason = done.stderr.decode(errors="replace").strip()
        raise RuntimeError(f"the previous release ({_NAMED_IN.name}) cannot be had: {reason}")
    return done.stdout
