"""Named SQL: statements live in ``sql/queries/*.sql``, each under a line ``-- name: its_name``."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_NAME = re.compile(r"^-- name: ([a-z_]+)$", re.MULTILINE)


@cache
def sql_folder() -> Path:
    """Return the folder with migrations and queries: inside of the wheel, or beside the package in a checkout."""
    package = Path(__file__).parent.parent
    installed = package / "sql"
    return installed if installed.is_dir() else package.parent / "sql"


@cache
def all_statements() -> dict[str, str]:
    """Read every named statement."""
    found: dict[str, str] = {}
    for file in sorted((sql_folder() / "queries").glob("*.sql")):
        _, *pairs = _NAME.split(file.read_text(encoding="utf-8"))
        for name, text in zip(pairs[::2], pairs[1::2], strict=True):
            if name in found:
                raise RuntimeError(f"statement {name} is defined twice")
            found[name] = text.strip()
    return found


def name_of(text: str) -> str:
    """Return the name of a statement by its text; of one that has none, its first word."""
    return _names().get(text) or text.split(maxsplit=1)[0].rstrip(";").lower()


@cache
def _names() -> dict[str, str]:
    return {text: name for name, text in all_statements().items()}


def statement(name: str) -> str:
    """Return a statement by its name; a name that does not exist fails when the module is imported."""
    return all_statements()[name]
