"""Whatever lies in deploy/ is used."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
FILES = sorted(path for path in (ROOT / "deploy").rglob("*") if path.is_file())


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_file_is_exercised(file: Path) -> None:
    """A test names it or reads its folder, or what a test starts does."""
    users = [path for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__)]
    users += [ROOT / "Makefile", ROOT / "Dockerfile", ROOT / "docker-compose.yml"]
    names = {file.name, "kubernetes"} if file.parent.name == "kubernetes" else {file.name}
    assert any(name in path.read_text(encoding="utf-8") for path in users for name in names)
