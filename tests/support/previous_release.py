"""The release before this program: its code, from the history of the repository itself."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

from support.repository import ROOT, git

if TYPE_CHECKING:
    from pathlib import Path


def unpack_previous_release(folder: Path) -> Path:
    """Unpack the code of the commit that ``deploy/previous-release`` names, and return the folder."""
    commit = (ROOT / "deploy" / "previous-release").read_text(encoding="ascii").strip()
    if git("rev-parse", "--is-shallow-repository").strip() == b"true":
        raise RuntimeError("this clone has no history, which the previous release is taken from: git fetch --unshallow")
    with tarfile.open(fileobj=io.BytesIO(git("archive", commit, "gateway", "sql"))) as archive:
        archive.extractall(folder, filter="data")
    return folder
