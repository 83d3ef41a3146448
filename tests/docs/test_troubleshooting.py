"""Each message of docs/troubleshooting.md is one that Slipway says, or is known to be somebody else's."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
# Of docker, Postgres and nginx.
FOREIGN = {
    "http: server gave HTTP response to HTTPS client",
    "could not look up effective user ID",
    "request entity too large",
}


def messages() -> list[str]:
    """Quoted texts of more than one word in the first column of all tables."""
    cells = [line.split(" | ")[0] for line in PAGE.splitlines() if line.startswith("| ")]
    return [text for cell in cells for text in re.findall(r"`([^`]+)`", cell) if " " in text]


@cache
def said() -> tuple[str, ...]:
    """All texts in the code, with an ellipsis for whatever is put in."""
    nodes = [
        node
        for path in sorted((ROOT / "gateway").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    ]
    whole = [as_text(node) for node in nodes if isinstance(node, ast.JoinedStr | ast.Constant)]
    return tuple(re.sub(r"%[sdr]", "…", text) for text in whole)


def as_text(node: ast.AST) -> str:
    """Write a literal as people see it."""
    if isinstance(node, ast.JoinedStr):
        return "".join(as_text(value) for value in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else "…"


@pytest.mark.parametrize("message", messages())
def test_message_exists(message: str) -> None:
    """The code says it, from anywhere in a sentence on."""
    assert message in FOREIGN or any(message in text for text in said()), message


def test_foreign_messages_are_on_the_page() -> None:
    """The list of exceptions has no entry that nothing needs."""
    assert set(messages()) >= FOREIGN
